package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errNoLinks says why nothing can be cut on the loopback interface.
var errNoLinks = errors.New(noLinks)

// TryKill is Kill for those who break several things at once: it returns what
// goes wrong and may, like the other Try verbs, be called from any goroutine.
func (h *Host) TryKill() error { return h.killAll() }

// TryFreeze is Freeze from any goroutine.
func (h *Host) TryFreeze() error { return h.freezeAll() }

// TryThaw is Thaw from any goroutine.
func (h *Host) TryThaw() error { return h.thawAll() }

// Server lists the processes of the host's PostgreSQL, the postmaster first;
// none when it does not run.
func (h *Host) Server() []Process {
	pid := h.Postmaster()
	if pid == 0 {
		return nil
	}
	var master, children []Process
	for _, p := range h.Processes() {
		switch {
		case p.PID == pid:
			master = append(master, p)
		case p.Parent == pid:
			children = append(children, p)
		}
	}
	return append(master, children...)
}

// TryFreezeServer stops the host's PostgreSQL, postmaster and children, and
// leaves its keeper alone. Thaw ends it.
func (h *Host) TryFreezeServer() error {
	pid := h.Postmaster()
	if pid == 0 {
		return fmt.Errorf("no postmaster runs on %s", h.Name)
	}
	return h.each(func(p Process) bool { return (p.PID == pid || p.Parent == pid) && p.State != 'T' },
		func(p Process) { _ = syscall.Kill(p.PID, syscall.SIGSTOP) })
}

// TrySignal sends a signal to one process of the host.
func (h *Host) TrySignal(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("send %v to process %d of %s: %w", s, pid, h.Name, err)
	}
	return nil
}

// TryCut is Cut from any goroutine.
func (h *Host) TryCut() error {
	return h.lab.tryCut(func(c map[cut]bool) { c[cut{from: h}], c[cut{to: h}] = true, true })
}

// TryHeal is Heal from any goroutine.
func (h *Host) TryHeal() error {
	return h.lab.tryCut(func(c map[cut]bool) { delete(c, cut{from: h}); delete(c, cut{to: h}) })
}

// TryCutOneWay is CutOneWay from any goroutine.
func (l *Lab) TryCutOneWay(from, to *Host) error {
	return l.tryCut(func(c map[cut]bool) { c[cut{from, to}] = true })
}

// TryHealOneWay ends TryCutOneWay.
func (l *Lab) TryHealOneWay(from, to *Host) error {
	return l.tryCut(func(c map[cut]bool) { delete(c, cut{from, to}) })
}

// TryHealAll is Lab.Heal from any goroutine; packets are lost no longer either.
func (l *Lab) TryHealAll() error {
	return errors.Join(l.tryCut(func(c map[cut]bool) { clear(c) }), l.TryLose(0))
}

func (l *Lab) tryCut(edit func(map[cut]bool)) error {
	if l.net == nil {
		return errNoLinks
	}
	return l.net.change(edit)
}

// TryLose drops that many of a hundred packets that hosts and clients send each
// other, each by chance; 0 ends it.
func (l *Lab) TryLose(percent int) error {
	if l.net == nil {
		return errNoLinks
	}
	rule := ""
	if percent > 0 {
		rule = fmt.Sprintf("ether type ip numgen random mod 100 < %d drop\n", percent)
	}
	return runInput("table bridge loss\ndelete table bridge loss\ntable bridge loss {\n"+
		"chain forward { type filter hook forward priority 1; policy accept;\n"+rule+"}\n}\n",
		"ip", "netns", "exec", l.net.space("switch"), program("nft"), "-f", "-")
}

// TrySlow is Slow from any goroutine.
func (l *Lab) TrySlow(delay time.Duration, lossPercent int) (end func() error, err error) {
	if l.net == nil {
		return nil, errNoLinks
	}
	r, err := l.net.relay(delay, lossPercent)
	if err != nil {
		return nil, fmt.Errorf("slow the network down: %w", err)
	}
	return r.close, nil
}

// TryFill is Fill from any goroutine.
func (v *Volume) TryFill() error {
	f, err := os.OpenFile(filepath.Join(v.Dir, filler), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var room unix.Statfs_t
	if err := unix.Statfs(v.Dir, &room); err != nil {
		return err
	}
	// Most of it at once; the rest is what was freed, or taken, meanwhile.
	if most := int64(room.Bavail)*room.Bsize - 1<<20; most > 0 {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, most); err != nil && !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("fill %s: %w", v.Dir, err)
		}
	}
	for size := 1 << 16; size > 0; {
		n, err := f.Write(make([]byte, size))
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			return err
		}
		if err != nil && n == 0 {
			size /= 2
		}
	}
	return nil
}

// TryFree is Free from any goroutine, and content with a filler that somebody
// else has deleted.
func (v *Volume) TryFree() error {
	if err := os.Remove(filepath.Join(v.Dir, filler)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
