package bank

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Line is what one client saw in a window.
type Line struct {
	// Kind is what it does, Via through whom.
	Kind, Via string
	// Done counts what succeeded, Failed the errors, of which First is the first.
	Done, Failed int
	First        error
	// Pause is the longest time without a success.
	Pause time.Duration
	// Half is the longest time that a transfer was half visible.
	Half time.Duration

	groups []int
}

// Touches reports whether the client needs one of the groups, or works through one of the vias named.
func (l Line) Touches(groups ...int) bool {
	return slices.ContainsFunc(groups, func(g int) bool { return slices.Contains(l.groups, g) })
}

// Report is what all clients saw in a window.
type Report []Line

// Mark begins a window.
func (b *Bank) Mark() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = b.elapsed()
	for _, c := range b.clients {
		c.half = 0
	}
}

// Since tells what the clients have seen since the last Mark.
func (b *Bank) Since() Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	var r Report
	to := b.elapsed()
	for _, c := range b.clients {
		l := Line{Kind: c.kind.name, Via: c.via.Name, groups: c.kind.groups, Half: c.half}
		last := b.mark
		for _, at := range c.acks {
			if at < b.mark {
				continue
			}
			l.Done++
			l.Pause = max(l.Pause, at-last)
			last = at
		}
		l.Pause = max(l.Pause, to-last)
		for _, f := range c.errs {
			if f.at < b.mark {
				continue
			}
			if l.Failed++; l.First == nil {
				l.First = f.err
			}
		}
		r = append(r, l)
	}
	return r
}

// Where returns the lines for which keep says yes.
func (r Report) Where(keep func(Line) bool) Report {
	return slices.DeleteFunc(slices.Clone(r), func(l Line) bool { return !keep(l) })
}

// Pause is the longest time that any client went without a success.
func (r Report) Pause() time.Duration {
	var longest time.Duration
	for _, l := range r {
		longest = max(longest, l.Pause)
	}
	return longest
}

// Half is the longest time that any transfer was half visible.
func (r Report) Half() time.Duration {
	var longest time.Duration
	for _, l := range r {
		longest = max(longest, l.Half)
	}
	return longest
}

// Failed counts all errors.
func (r Report) Failed() int {
	n := 0
	for _, l := range r {
		n += l.Failed
	}
	return n
}

// String prints a table.
func (r Report) String() string {
	var b strings.Builder
	for _, l := range r {
		fmt.Fprintf(&b, "%-18s through %-12s %5d done, longest pause %6.2f s", l.Kind, l.Via, l.Done, l.Pause.Seconds())
		if l.Half > 0 {
			fmt.Fprintf(&b, ", half visible for %.2f s", l.Half.Seconds())
		}
		if l.Failed > 0 {
			fmt.Fprintf(&b, ", %d errors: %.300v", l.Failed, l.First)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
