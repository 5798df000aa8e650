package explore

import "github.com/autoctl/autoctl/fsm"

// wal is the write-ahead log of one node: two bytes a record, the timeline and the number of the commit, 0 for a record
// that is no client's commit (the birth of the cluster, a promotion, a shutdown). All that a log holds is flushed.
type wal string

// lsnUnit is how many LSN positions a record takes.
const lsnUnit = 16

func (w wal) len() int { return len(w) / 2 }

// lsn is the position behind the last record.
func (w wal) lsn() fsm.LSN { return lsnAt(w.len()) }

func lsnAt(records int) fsm.LSN { return fsm.LSN(records * lsnUnit) }

// timeline is the timeline of the last record; 0 for an empty log.
func (w wal) timeline() fsm.Timeline {
	if w == "" {
		return 0
	}
	return fsm.Timeline(w[len(w)-2])
}

func (w wal) commit(i int) byte { return w[2*i+1] }

// has reports whether the log holds the commit.
func (w wal) has(commit byte) bool {
	for i := range w.len() {
		if w.commit(i) == commit {
			return true
		}
	}
	return false
}

// ended reports whether the last record is a shutdown, or, what looks the same, the end of a crash recovery.
func (w wal) ended() bool {
	n := w.len()
	return n > 0 && w.commit(n-1) == 0 && (n == 1 || w[2*n-2] == w[2*n-4])
}

func (w wal) add(tli fsm.Timeline, commit byte) wal {
	return w + wal([]byte{byte(tli), commit})
}

// lineage is the history that PostgreSQL would tell of this log: numbers and switch points only, so two different logs can
// have the same one (S3).
func (w wal) lineage() fsm.Lineage {
	var l fsm.Lineage
	for i := range w.len() {
		tli := fsm.Timeline(w[2*i])
		if len(l) == 0 || l[len(l)-1].Timeline != tli {
			l = append(l, fsm.Branch{Timeline: tli, Begin: lsnAt(i)})
		}
	}
	if len(l) > 0 {
		l[0].Begin = 0
	}
	return l
}

// streams reports whether PostgreSQL would stream the rest of up to a standby that holds down.
func streams(up, down wal) bool {
	if down.len() > up.len() || down == "" {
		return false
	}
	// The standby's timeline must be in the history of the upstream, and must not have been left before the standby's end.
	tli, end := down.timeline(), lsnAt(down.len())
	history := up.lineage()
	for i, b := range history {
		if b.Timeline != tli {
			continue
		}
		return i == len(history)-1 || end <= history[i+1].Begin
	}
	return false
}
