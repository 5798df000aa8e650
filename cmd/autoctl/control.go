package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/daemon"
	"github.com/autoctl/autoctl/keeper/state"
)

// How stop stops.
const (
	stopGraceful = daemon.StopGraceful
	stopFast     = daemon.StopFast
)

func (a *app) stopCommand() *cobra.Command {
	var t *target
	var fast, immediate, only bool
	cmd := &cobra.Command{
		Use: "stop", Short: "Stop the daemon of a data directory, and its PostgreSQL",
		Long: `Stop the daemon of a data directory, and its PostgreSQL. A primary hands over first if
somebody can take over. With --fast it does not, and nobody is promoted in its place until an
operator says so. The PostgreSQL of a node in maintenance goes on, unless --fast or --immediate
is given. Waits for the end.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			mode := stopGraceful
			switch {
			case fast:
				mode = stopFast
			case immediate:
				mode = daemon.StopImmediate
			case only:
				mode = daemon.StopKeeper
			}
			return attempt(func() error {
				l, err := a.running(t)
				if err != nil {
					return err
				}
				return a.stopDaemon(cmd.Context(), l, mode)
			}(), "stop")
		},
	}
	t = bindLocal(cmd)
	cmd.Flags().BoolVar(&fast, "fast", false, "do not hand over; end sessions and stop in order")
	cmd.Flags().BoolVar(&immediate, "immediate", false, "stop at once, without a checkpoint; counts as a crash")
	cmd.Flags().BoolVar(&only, "keeper-only", false, "end the daemon and leave PostgreSQL running")
	exclusive(cmd, "fast", "immediate", "keeper-only")
	return leaf(cmd, cobra.NoArgs)
}

// running is the configuration of the chosen data directory; where that is damaged and a daemon runs all the same, what can be known without it: it must be
// possible to look at that one, and to stop it.
func (a *app) running(t *target) (*loaded, error) {
	l, _, err := t.local()
	if err == nil || classify(err).class != classConfig {
		return l, err
	}
	dir, dirErr := t.dataDirectory()
	if dirErr != nil || !locked(statePath(dir)) {
		return nil, err
	}
	l = &loaded{}
	l.Role, l.PostgreSQL.PGData = roleKeeper, dir
	if monitors, lockErr := state.Locked(filepath.Join(statePath(dir), daemonLockName)); monitors || lockErr != nil {
		l.Role = roleMonitor
	}
	fmt.Fprintf(a.err, "autoctl: %v\n", err)
	return l, nil
}

// stopDaemon ends the daemon and says so.
func (a *app) stopDaemon(ctx context.Context, l *loaded, mode daemon.StopMode) error {
	if m, err := memory(l.PostgreSQL.PGData); err == nil && mode == stopGraceful && l.Role == roleKeeper && m.Goal.State == fsm.StateMaintenance {
		mode = daemon.StopKeeper // the daemon would do the same
	}
	if err := a.endDaemon(ctx, l, mode); err != nil {
		return err
	}
	text := "Stopped."
	if mode == daemon.StopKeeper {
		text = "The daemon has ended; PostgreSQL goes on."
	}
	return a.print(map[string]any{"stopped": true, "mode": mode.String()}, func(w io.Writer) { fmt.Fprintln(w, text) })
}

// endDaemon asks over the control socket, and where nobody answers there by signal, and waits until its end has let go of the locks.
func (a *app) endDaemon(ctx context.Context, l *loaded, mode daemon.StopMode) error {
	dir := statePath(l.PostgreSQL.PGData)
	err := control.Call(ctx, dir, control.Request{Command: "stop", Mode: mode.String()}, nil, func(news string) { a.say("%s", news) })
	if errors.Is(err, control.ErrEnded) {
		err = nil
	}
	if errors.Is(err, control.ErrNotRunning) && l.Role == roleKeeper {
		err = signalKeeper(dir, mode)
	}
	if err != nil {
		return err
	}
	return waitStopped(ctx, l.PostgreSQL.PGData)
}

// signalKeeper is for a keeper whose socket is gone.
func signalKeeper(dir string, mode daemon.StopMode) error {
	pid, err := state.Running(dir)
	if err != nil || pid == 0 || mode == daemon.StopKeeper {
		return control.ErrNotRunning
	}
	for s, m := range stopSignals() {
		if m == mode {
			return syscall.Kill(pid, s.(syscall.Signal))
		}
	}
	return control.ErrNotRunning
}

// waitStopped waits until no daemon runs on a data directory: the socket goes first, and the locks last, which the next daemon needs.
func waitStopped(ctx context.Context, pgdata string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := control.Call(ctx, statePath(pgdata), control.Request{Command: "status"}, nil, nil)
		if errors.Is(err, control.ErrNotRunning) && !locked(statePath(pgdata)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fail(classTimeout, "", "the daemon of %s still runs", pgdata)
		case <-tick.C:
		}
	}
}

// locked says whether a daemon still holds a lock of a state directory.
func locked(dir string) bool {
	keepers, err := state.Locked(filepath.Join(dir, state.LockName))
	monitors, e := state.Locked(filepath.Join(dir, daemonLockName))
	return keepers || monitors || err != nil || e != nil
}

func (a *app) reloadCommand() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "reload", Short: "Make a running daemon read its configuration again",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(func() error {
				l, _, err := t.local()
				if err != nil {
					return err
				}
				if err := l.check(); err != nil {
					return err
				}
				return a.reloadDaemon(cmd.Context(), l)
			}(), "reload")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

// askReload makes a running daemon take its configuration.
func askReload(ctx context.Context, l *loaded) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return control.Call(ctx, statePath(l.PostgreSQL.PGData), control.Request{Command: "reload"}, nil, nil)
}

func (a *app) reloadDaemon(ctx context.Context, l *loaded) error {
	if err := askReload(ctx, l); err != nil {
		return err
	}
	return a.print(map[string]any{"reloaded": true}, func(w io.Writer) { fmt.Fprintln(w, "Reloaded.") })
}

// statusJSON is the document of status: one of the two parts.
type statusJSON struct {
	Role    string         `json:"role"`
	Running bool           `json:"running"`
	Keeper  *keeperStatus  `json:"keeper,omitempty"`
	Monitor *monitorStatus `json:"monitor,omitempty"`
}

// keeperStatus is what a keeper says of itself, its report with the system identifier as every other document has it: too large for readers that
// take numbers for floating point.
type keeperStatus struct {
	keeper.ServiceStatus
	Report reportJSON `json:"report"`
}

type reportJSON struct {
	fsm.Report
	SystemID string `json:"system_id,omitempty"`
}

func forPeople(s keeper.ServiceStatus) *keeperStatus {
	k := &keeperStatus{ServiceStatus: s, Report: reportJSON{Report: s.Report}}
	if s.Report.SystemID != 0 {
		k.Report.SystemID = strconv.FormatUint(s.Report.SystemID, 10)
	}
	return k
}

func (a *app) statusCommand() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "status", Short: "Tell what runs on this machine for a data directory",
		Long: `Tell what runs on this machine for a data directory, as its daemon sees it; the monitor is
not asked. Exit code 8 says that no daemon runs.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(func() error {
				l, err := a.running(t)
				if err != nil {
					return err
				}
				return a.status(cmd.Context(), l)
			}(), "status")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) status(ctx context.Context, l *loaded) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	doc := statusJSON{Role: l.Role, Running: true}
	var k keeper.ServiceStatus
	into := any(&k)
	if l.Role == roleMonitor {
		doc.Monitor = &monitorStatus{}
		into = doc.Monitor
	}
	if err := control.Call(ctx, statePath(l.PostgreSQL.PGData), control.Request{Command: "status"}, into, nil); err != nil {
		return err
	}
	if doc.Monitor == nil {
		doc.Keeper = forPeople(k)
	}
	return a.print(doc, func(w io.Writer) {
		if doc.Monitor != nil {
			m := doc.Monitor
			pairs(w, [][2]string{{"role", "monitor"}, {"process", fmt.Sprint(m.PID)}, {"autoctl", m.Software}, {"data directory", m.PGData},
				{"PostgreSQL", monitorAlive(ctx, m.URI)}, {"URI", m.URI}})
			return
		}
		pairs(w, keeperRows(&k))
	})
}

// monitorAlive asks the monitor as its clients do.
func monitorAlive(ctx context.Context, uri string) string {
	c, err := dial(ctx, uri)
	if err == nil {
		c.Close()
	}
	if err == nil || monitorapi.CodeOf(err) == monitorapi.CodeAuth { // it answers, whoever asks
		return "answers clients"
	}
	return err.Error()
}

func keeperRows(k *keeper.ServiceStatus) [][2]string {
	r := k.Report
	server := string(r.Server.Status)
	switch {
	case r.Server.Status != "running" && r.Activity != nil && r.Activity.Kind == "basebackup":
		server = "not running while its data are copied" // what is being replaced says nothing
	case r.Server.Status == "running" && r.Server.Recovery:
		server += ", a standby"
	case r.Server.Status == "running":
		server += ", read-write"
	}
	rows := [][2]string{
		{"role", "keeper"}, {"process", fmt.Sprint(k.PID)}, {"autoctl", k.Software}, {"node", fmt.Sprintf("%d, %s in its configuration", r.Node, printable(k.Name))},
		{"address", address(k.Host, k.Port)}, {"data directory", k.PGData}, {"PostgreSQL", serverVersion(r.Version) + ", " + server},
		{"TLI: LSN", positionTrimmed(r)}, {"reported state", string(r.State)}, {"assigned state", string(k.Goal)},
	}
	switch {
	case k.Monitor == "":
		rows = append(rows, [2]string{"monitor", "none"})
	case k.MonitorAgeMS < 0:
		rows = append(rows, [2]string{"monitor", k.Monitor + ", not heard yet"})
	default:
		rows = append(rows, [2]string{"monitor", fmt.Sprintf("%s, heard %s ago", k.Monitor, ageText(k.MonitorAgeMS))})
	}
	if r.Activity != nil {
		rows = append(rows, [2]string{"activity", activityText(*r.Activity)})
	}
	if r.Problem != nil {
		rows = append(rows, [2]string{"problem", r.Problem.Text}, [2]string{"", r.Problem.Hint})
	}
	return rows
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the versions of autoctl and of its protocol",
		RunE: func(*cobra.Command, []string) error {
			doc := map[string]any{"autoctl": version, "protocol": monitorapi.Protocol, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "autoctl %s, protocol %d, %s %s/%s\n", version, monitorapi.Protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			})
		},
	}
	return leaf(cmd, cobra.NoArgs)
}

// demoBinary is the running program, for those who start it again.
func demoBinary() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fail(classPrecondition, "", "find this program: %w", err)
	}
	return path, nil
}
