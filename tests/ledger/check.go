package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Verdict is what the checker found.
type Verdict struct {
	// Acknowledged and Unknown count the rows sent, by whether an acknowledgement
	// came; Present counts those that the service has now.
	Acknowledged, Unknown, Present int
	// Missing rows were acknowledged and are not there: P1 is broken.
	Missing []Row
	// NeverSent rows are there and nobody sent them.
	NeverSent []Row
	// TwoWriters are acknowledgements by a server of an older timeline for
	// statements sent after a newer timeline had acknowledged: P2 is broken.
	TwoWriters []Ack
}

// Check compares what was recorded with the rows that the service has.
func Check(j Journal, present []Row) Verdict {
	v := Verdict{Acknowledged: len(j.Acks), Unknown: len(j.Sent) - len(j.Acks), Present: len(present)}
	has := make(map[Row]bool, len(present))
	for _, r := range present {
		has[r] = true
		if !j.Sent[r] {
			v.NeverSent = append(v.NeverSent, r)
		}
	}
	// first[t] is when a server on timeline t acknowledged for the first time.
	first := map[uint32]time.Duration{}
	for _, a := range j.Acks {
		if !has[a.Row] {
			v.Missing = append(v.Missing, a.Row)
		}
		if at, ok := first[a.Timeline]; !ok || a.At < at {
			first[a.Timeline] = a.At
		}
	}
	for _, a := range j.Acks {
		for timeline, at := range first {
			if timeline > a.Timeline && a.Sent > at {
				v.TwoWriters = append(v.TwoWriters, a)
				break
			}
		}
	}
	slices.SortFunc(v.Missing, compareRows)
	slices.SortFunc(v.NeverSent, compareRows)
	return v
}

func compareRows(a, b Row) int {
	return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Seq, b.Seq))
}

// Err is nil when the service kept its promises; a run that acknowledged
// nothing proves nothing and is an error as well.
func (v Verdict) Err() error {
	var errs []error
	if v.Acknowledged == 0 {
		errs = append(errs, errors.New("no write was acknowledged: nothing was tested"))
	}
	if n := len(v.Missing); n > 0 {
		errs = append(errs, fmt.Errorf("%d of %d acknowledged rows are lost: %v", n, v.Acknowledged, some(v.Missing)))
	}
	if n := len(v.NeverSent); n > 0 {
		errs = append(errs, fmt.Errorf("%d rows that nobody sent: %v", n, some(v.NeverSent)))
	}
	if n := len(v.TwoWriters); n > 0 {
		errs = append(errs, fmt.Errorf("%d writes acknowledged by a former primary after its successor's first: %+v", n, some(v.TwoWriters)))
	}
	return errors.Join(errs...)
}

// some returns the first few elements.
func some[T any](s []T) []T { return s[:min(len(s), 5)] }

// Gap is a time without an acknowledged write.
type Gap struct{ Start, Length time.Duration }

// longestGap finds the longest gap within from..to, given the times of
// acknowledgements in ascending order.
func longestGap(acks []time.Duration, from, to time.Duration) Gap {
	longest, last := Gap{Start: from}, from
	for _, at := range acks {
		if at <= from {
			continue
		}
		if at > to {
			break
		}
		if at-last > longest.Length {
			longest = Gap{Start: last, Length: at - last}
		}
		last = at
	}
	if to-last > longest.Length {
		longest = Gap{Start: last, Length: to - last}
	}
	return longest
}
