package explore

import "github.com/autoctl/autoctl/fsm"

// broken is a set of rules broken on purpose in the world around Decide and Plan: what a keeper does with its files and its memory,
// and what it waits for. Only tests of the search set any, and no program links this package.
type broken uint

// The rules, by the names of the table at the end of the design's safety findings where it has one.
const (
	noWalsenders   broken = 1 << iota // nows: a configuration counts as settled while walsenders still go by the old one
	noCheckpointer                    // nockpt: a set that was empty counts as settled before the checkpointer has reloaded
	noFlush                           // noflush: settling does not wait for k members
	notStopped                        // notstopped: a report_lsn node votes at once and goes on receiving
	staleConf                         // staleconf: a host comes back with the files before its last ones, and its server starts over them
	sameTimeline                      // two promotions may create the same timeline, and leave no trace of their beginning
	anyOrder                          // a keeper obeys whatever goal arrives, older epochs and incarnations too
	forgetful                         // a keeper reports before its memory is on disk
	keepGeneration                    // data keeps its generation when it is rewound or replaced
	trusting                          // a restored monitor goes on as if its memory were current
	twoNames                          // a standby that reconnects is counted beside its own connection that is left over
)

func (o *Options) breaks(b broken) bool { return o.broken&b != 0 }

// obeyed is what the keeper's memory becomes when a goal arrives; false when nothing does.
func (w *World) obeyed(h *host, goal fsm.Goal) (fsm.Memory, bool) {
	m := *h.mem
	older := m.Goal.Stamp
	if w.opt.breaks(anyOrder) && goal.Compare(older) < 0 {
		m.Goal.Stamp, m.Serving = fsm.Stamp{}, nil
	}
	if err := m.Obey(goal); err != nil {
		return m, false
	}
	return m, m.Goal.Stamp != older
}

// work marks the beginning of work on the data in the keeper's memory.
func (w *World) work(h *host, begin func(*fsm.Memory)) {
	generation := h.mem.Generation
	h.remember(begin)
	if w.opt.breaks(keepGeneration) && generation > 0 {
		h.remember(func(m *fsm.Memory) { m.Generation = generation })
	}
}
