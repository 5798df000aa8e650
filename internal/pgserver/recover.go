package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Recover makes an uncleanly stopped data directory clean, contained: nobody
// can connect, nothing is archived, no WAL is removed. A former primary runs
// its crash recovery in single-user mode, as pg_rewind would by itself; a
// standby comes up without upstream until it is consistent and is stopped
// again. It does nothing to a directory that is clean, and fails with
// ErrInconsistent where the log that there is does not make the data
// consistent.
//
// Single-user mode ends recovery with a checkpoint, a record past what the
// server had written. It is meant for a directory that will be rewound.
func Recover(ctx context.Context, b Binaries, c RecoverConfig) error {
	cd, err := ReadControlData(ctx, b, c.DataDir)
	if err != nil {
		return fmt.Errorf("recover %s: %w", c.DataDir, err)
	}
	if cd.State.Clean() {
		return nil
	}
	if err := EndStrayTools(ctx, c.DataDir); err != nil {
		return fmt.Errorf("recover %s: %w", c.DataDir, err)
	}
	if _, err := EndRemains(ctx, c.DataDir); err != nil {
		return fmt.Errorf("recover %s: %w", c.DataDir, err)
	}
	if cd.State.Standby() {
		err = recoverStandby(ctx, b, c, cd.Settings)
	} else {
		err = recoverPrimary(ctx, b, c)
	}
	if err != nil {
		return fmt.Errorf("recover %s: %w", c.DataDir, err)
	}
	return nil
}

// RecoverConfig says what to recover.
type RecoverConfig struct {
	DataDir    string
	ConfigFile string // a postgresql.conf outside the data directory
	LogFile    string // for a standby's server; discarded if empty
}

// contained are settings under which a recovery touches nothing but its own
// directory and keeps all WAL for pg_rewind.
func contained() map[string]string {
	return map[string]string{
		"archive_mode":              "off",
		"restore_command":           "",
		"primary_conninfo":          "",
		"primary_slot_name":         "",
		"wal_keep_size":             "1TB",
		"max_slot_wal_keep_size":    "-1",
		"synchronous_standby_names": "",
		"listen_addresses":          "",
		"lc_messages":               "C", // what it says is read
	}
}

// recoverPrimary needs standby.signal out of the way, for single-user mode
// refuses it. Should we die meanwhile, our configuration still keeps a stray
// start from acknowledging (S8), and the caller rewrites the file before any
// start of its own.
func recoverPrimary(ctx context.Context, b Binaries, c RecoverConfig) (err error) {
	had, err := ClearStandbySignal(c.DataDir)
	if err != nil {
		return err
	}
	if had {
		defer func() {
			_, back := SetStandbySignal(c.DataDir)
			err = errors.Join(err, back)
		}()
	}
	if _, err := RemoveStalePIDFile(c.DataDir); err != nil {
		return err
	}
	args := []string{"--single", "-D", c.DataDir}
	if c.ConfigFile != "" {
		args = append(args, "-c", "config_file="+c.ConfigFile)
	}
	settings := contained()
	for _, name := range sortedKeys(settings) {
		args = append(args, "-c", name+"="+settings[name])
	}
	_, err = b.Run(ctx, Tool{Name: "postgres", Args: append(args, "template1")})
	return err
}

// recoverStandby gives the server at least what the log asks for: with less,
// replay would pause (14) or the server stop (13).
func recoverStandby(ctx context.Context, b Binaries, c RecoverConfig, needed map[string]int) (err error) {
	if _, err := SetStandbySignal(c.DataDir); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "autoctl-") // short: socket paths are limited to 107 bytes
	if err != nil {
		return fmt.Errorf("create socket directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	options := contained()
	options["unix_socket_directories"] = dir
	options["hot_standby"] = "on"
	for name, value := range needed {
		options[name] = strconv.Itoa(value)
	}
	p, err := Start(ctx, b, StartConfig{DataDir: c.DataDir, ConfigFile: c.ConfigFile, LogFile: c.LogFile, Options: options})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.waitConsistent(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), toolGrace)
		defer cancel()
		return errors.Join(err, p.Kill(stop))
	}
	return p.Stop(ctx, StopFast)
}

// ErrInconsistent says that recovery has read all log that there is, and the
// data are not consistent: a copy or a rewind needs more from its source.
var ErrInconsistent = errors.New("the log that is here does not make the data consistent")

// sleepsFor is for how long recovery without an upstream has slept over the
// same segment when it has nothing left to read. It looks again for more every
// wal_retrieve_retry_interval, and nobody brings any.
const sleepsFor = 5 * time.Second

// waitConsistent is WaitReady for a server without upstream, which would wait
// for ever for log that it does not have.
func (p *Process) waitConsistent(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		p.watchRecovery(ctx, func() { cancel(ErrInconsistent) })
	}()
	_, err := p.WaitReady(ctx)
	cancel(nil)
	<-watched
	return err
}

// watchRecovery calls asleep once recovery gets nowhere any more.
func (p *Process) watchRecovery(ctx context.Context, asleep func()) {
	tick := time.NewTicker(sleepsFor / 10)
	defer tick.Stop()
	var last Replay
	since := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		r, err := p.Replay()
		if err != nil || r.Moved(last) {
			since = time.Now()
		}
		if last = r; time.Since(since) > sleepsFor {
			asleep()
			return
		}
	}
}
