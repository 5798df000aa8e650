package formation

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/citus"
)

// How soon after a group has moved its former place is looked at, for how long it may say nothing before it is taken for one that hangs, how often that is repeated, and for how
// long: the kernel gives up within that.
const (
	severAfter  = 300 * time.Millisecond
	severAnswer = 500 * time.Millisecond
	severSlowly = 4 // times what the group's present place takes, where that is more
	severPace   = 250 * time.Millisecond
	severFor    = 3 * time.Minute
)

// former is a place from which a group has gone.
type former struct {
	group int
	since time.Time
	hung  int // looks in a row
	// failed says that connections could not be severed once, addresses where the place was when its name could last be resolved.
	failed    bool
	addresses []string
}

// sever frees this node's server of connections to former places that say nothing any more: a host that hangs or that was cut off. Whoever waits for an answer from there gets
// an error instead, and whoever was ended meanwhile ends. A place that answers or refuses is left alone: its own server ends what it has.
func (k *Keeper) sever(ctx context.Context) error {
	served := map[int]citus.Address{}
	gone := map[citus.Address]*former{}
	for ctx.Err() == nil {
		k.moved(served, gone)
		for at, f := range gone {
			k.severFrom(ctx, at, served[f.group], f, gone)
		}
		if len(gone) == 0 {
			nap(ctx, calmPace, k.left)
			continue
		}
		nap(ctx, severPace, k.left)
	}
	return nil
}

// moved notes what groups of others have moved since it was last asked.
func (k *Keeper) moved(served map[int]citus.Address, gone map[citus.Address]*former) {
	own := k.Goal().Group
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.fetched {
		return
	}
	for _, g := range k.topology.Groups {
		at := citus.Address{Host: g.Host, Port: g.Port}
		if g.Group == own || !g.Open || served[g.Group] == at {
			continue
		}
		if before, known := served[g.Group]; known {
			gone[before] = &former{group: g.Group, since: time.Now()}
		}
		served[g.Group] = at
	}
	for _, at := range served {
		delete(gone, at)
	}
}

// severFrom looks at one former place, and takes it off the list when there is no more to do. By how long the present place takes to answer it is seen whether the network, or this
// host, is slow; where that does not answer either, nothing is known.
func (k *Keeper) severFrom(ctx context.Context, at, present citus.Address, f *former, gone map[citus.Address]*former) {
	age := time.Since(f.since)
	if age < severAfter {
		return
	}
	began := time.Now()
	if hangs(ctx, present, fetchTimeout) {
		f.hung = 0
		return
	}
	patience := max(severAnswer, severSlowly*time.Since(began))
	if age > severFor || !f.hangs(ctx, at, patience) {
		delete(gone, at)
		return
	}
	if f.hung++; f.hung < 2 {
		return
	}
	n, err := k.Sever(ctx, at.Host, at.Port)
	if n > 0 {
		k.Log.Warn().Int("group", f.group).Str("place", at.String()).Int("connections", n).Msg("the group's former primary does not answer: connections to it are severed")
	}
	if err != nil && ctx.Err() == nil && !f.failed {
		f.failed = true
		k.Log.Warn().Err(err).Msg("sessions that wait for a former primary have to wait for the kernel")
	}
	if err := k.endSessionsOf(ctx, at, f.addresses); err != nil && ctx.Err() == nil {
		k.Log.Debug().Err(err).Msg("the sessions of a former primary could not be ended now")
	}
}

// hangs reports whether nothing is heard from the former place. The name of a host that is gone may go with it: then it is looked for where it was, if that is known.
func (f *former) hangs(ctx context.Context, at citus.Address, within time.Duration) bool {
	resolving, cancel := context.WithTimeout(ctx, severAnswer)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(resolving, at.Host)
	if err == nil {
		f.addresses = found
		return hangs(ctx, at, within)
	}
	return !slices.ContainsFunc(f.addresses, func(host string) bool { return !hangs(ctx, citus.Address{Host: host, Port: at.Port}, within) })
}

// endSessionsOf ends the sessions that a former primary has on this node's server, if it serves: it will not go on with them, and they may hold locks that others wait for, some only
// since those before them were ended. One that waits for a standby is spared, and so is everything where another node has the same address.
func (k *Keeper) endSessionsOf(ctx context.Context, at citus.Address, addresses []string) error {
	goal := k.Goal()
	if !goal.State.Serves() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if len(addresses) == 0 || k.shared(ctx, at, addresses) {
		return nil
	}
	c, err := k.Client.Connect(ctx, goal.Group, k.Own(), goal.Database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	tag, err := c.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and application_name ~ '^citus_[a-z_]+ gpid=[0-9]+$'
		and client_addr = any ($1::text[]::inet[]) and wait_event is distinct from 'SyncRep'`, addresses)
	if n := tag.RowsAffected(); n > 0 {
		k.Log.Warn().Str("place", at.String()).Int64("sessions", n).Msg("the former primary does not answer: the sessions that it has here are ended")
	}
	return err
}

// shared reports whether another node of the formation has one of a place's addresses, under whatever name, or may have: its sessions look the same.
func (k *Keeper) shared(ctx context.Context, at citus.Address, addresses []string) bool {
	goal := k.Goal()
	var others []citus.Address
	for _, p := range goal.Peers {
		others = append(others, citus.Address{Host: p.Host, Port: p.Port})
	}
	for _, f := range goal.Fellows {
		others = append(others, citus.Address{Host: f.Host, Port: f.Port})
	}
	for _, o := range others {
		if o == at {
			continue
		}
		found, err := net.DefaultResolver.LookupHost(ctx, o.Host)
		if err != nil || slices.ContainsFunc(found, func(a string) bool { return slices.Contains(addresses, a) }) {
			return true
		}
	}
	return false
}

// hangs reports whether nothing at all is heard from a server in time, not even a refusal.
func hangs(ctx context.Context, at citus.Address, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(at.Host, strconv.Itoa(at.Port)))
	if err != nil {
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.EHOSTUNREACH) || timedOut(err)
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	// SSLRequest: a server answers with one byte, whoever asks.
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return timedOut(err)
	}
	_, err = conn.Read(make([]byte, 1))
	return timedOut(err)
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}
