package machine

import (
	"os"
	"path/filepath"
	"syscall"
)

// Kill ends every process of the host with SIGKILL, as a power failure would,
// but for what the kernel has in its caches.
func (h *Host) Kill() {
	h.lab.t.Helper()
	if err := h.killAll(); err != nil {
		h.lab.t.Fatal(err)
	}
}

// KillPostmaster ends the postmaster alone with SIGKILL and returns its process
// id; its children notice by themselves.
func (h *Host) KillPostmaster() int {
	h.lab.t.Helper()
	pid := h.Postmaster()
	if pid == 0 {
		h.lab.t.Fatalf("no postmaster runs on %s", h.Name)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.lab.t.Fatalf("kill the postmaster of %s: %v", h.Name, err)
	}
	return pid
}

// Freeze stops every process of the host with SIGSTOP: connections stay open
// and nothing answers.
func (h *Host) Freeze() {
	h.lab.t.Helper()
	if err := h.freezeAll(); err != nil {
		h.lab.t.Fatal(err)
	}
}

// FreezePostmaster stops the postmaster alone: what is connected goes on, and
// new connections get no answer. Thaw ends it.
func (h *Host) FreezePostmaster() {
	h.lab.t.Helper()
	pid := h.Postmaster()
	if pid == 0 {
		h.lab.t.Fatalf("no postmaster runs on %s", h.Name)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		h.lab.t.Fatal(err)
	}
}

// Thaw lets the processes of a frozen host go on.
func (h *Host) Thaw() {
	h.lab.t.Helper()
	if err := h.thawAll(); err != nil {
		h.lab.t.Fatal(err)
	}
}

// BreakPgControl removes the control file of the host's PGDATA, without which
// no server starts there.
func (h *Host) BreakPgControl() {
	h.lab.t.Helper()
	if err := os.Remove(filepath.Join(h.PGDATA(), "global", "pg_control")); err != nil {
		h.lab.t.Fatal(err)
	}
}

// Cut takes the host off the network, clients included, with everything on it
// running on.
func (h *Host) Cut() {
	h.lab.t.Helper()
	h.lab.cut(func(c map[cut]bool) { c[cut{from: h}], c[cut{to: h}] = true, true })
}

// Heal brings a host that was cut off back; links that were cut one by one stay
// cut.
func (h *Host) Heal() {
	h.lab.t.Helper()
	h.lab.cut(func(c map[cut]bool) { delete(c, cut{from: h}); delete(c, cut{to: h}) })
}

// CutLink drops what a and b send to each other, and nothing else.
func (l *Lab) CutLink(a, b *Host) {
	l.t.Helper()
	l.cut(func(c map[cut]bool) { c[cut{a, b}], c[cut{b, a}] = true, true })
}

// CutOneWay drops what from sends to to; the other direction passes.
func (l *Lab) CutOneWay(from, to *Host) {
	l.t.Helper()
	l.cut(func(c map[cut]bool) { c[cut{from, to}] = true })
}

// HealLink ends what CutLink and CutOneWay did between a and b.
func (l *Lab) HealLink(a, b *Host) {
	l.t.Helper()
	l.cut(func(c map[cut]bool) { delete(c, cut{a, b}); delete(c, cut{b, a}) })
}

// Heal restores the whole network.
func (l *Lab) Heal() {
	l.t.Helper()
	l.cut(func(c map[cut]bool) { clear(c) })
}

func (l *Lab) cut(edit func(map[cut]bool)) {
	l.t.Helper()
	l.NeedLinks()
	if err := l.net.change(edit); err != nil {
		l.t.Fatal(err)
	}
}
