package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const journalOfTwo = `intent 1 1 1000
ack 1 1 1000 2000 1 198.18.0.1:5432
intent 2 1 1500
intent 1 2 3000
ack 1 2 3000 4000 2 198.18.0.2:5432
`

// TestCheck is the checker's own test: one that is fed a lost row, a foreign
// row or a second writer has to say so, or its silence means nothing.
func TestCheck(t *testing.T) {
	tests := map[string]struct {
		journal string
		present []Row
		want    Verdict
		err     string // substring, "" for none
	}{
		"all there, the unknown one too": {
			journal: journalOfTwo,
			present: []Row{{1, 1}, {2, 1}, {1, 2}},
			want:    Verdict{Acknowledged: 2, Unknown: 1, Present: 3},
		},
		"the unknown one is gone": {
			journal: journalOfTwo,
			present: []Row{{1, 1}, {1, 2}},
			want:    Verdict{Acknowledged: 2, Unknown: 1, Present: 2},
		},
		"an acknowledged row is lost": {
			journal: journalOfTwo,
			present: []Row{{2, 1}, {1, 2}},
			want:    Verdict{Acknowledged: 2, Unknown: 1, Present: 2, Missing: []Row{{1, 1}}},
			err:     "1 of 2 acknowledged rows are lost",
		},
		"a row that nobody sent": {
			journal: journalOfTwo,
			present: []Row{{1, 1}, {1, 2}, {9, 9}},
			want:    Verdict{Acknowledged: 2, Unknown: 1, Present: 3, NeverSent: []Row{{9, 9}}},
			err:     "1 rows that nobody sent",
		},
		"the old primary acknowledges after its successor": {
			journal: journalOfTwo + "intent 2 2 5000\nack 2 2 5000 6000 1 198.18.0.1:5432\n",
			present: []Row{{1, 1}, {1, 2}, {2, 2}},
			want: Verdict{
				Acknowledged: 3, Unknown: 1, Present: 3,
				TwoWriters: []Ack{{Row: Row{2, 2}, Timeline: 1, Server: "198.18.0.1:5432", Sent: 5000, At: 6000}},
			},
			err: "acknowledged by a former primary",
		},
		"an answer of the old primary that was under way": {
			journal: journalOfTwo + "ack 2 1 1500 6000 1 198.18.0.1:5432\n",
			present: []Row{{1, 1}, {1, 2}, {2, 1}},
			want:    Verdict{Acknowledged: 3, Unknown: 0, Present: 3},
		},
		"nothing was acknowledged": {
			journal: "intent 1 1 1000\n",
			want:    Verdict{Unknown: 1},
			err:     "nothing was tested",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			journal, err := ReadJournal(strings.NewReader(test.journal))
			if err != nil {
				t.Fatal(err)
			}
			got := Check(journal, test.present)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			switch err := got.Err(); {
			case test.err == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v does not say %q", err, test.err)
			}
		})
	}
}

func TestReadJournal_Damaged(t *testing.T) {
	if _, err := ReadJournal(strings.NewReader("intent 1 1 5\nack 1 1\n")); err == nil {
		t.Error("a damaged journal was accepted")
	}
}

func TestLongestGap(t *testing.T) {
	acks := []time.Duration{10, 20, 50, 60}
	tests := []struct {
		from, to time.Duration
		want     Gap
	}{
		{0, 65, Gap{20, 30}},
		{0, 100, Gap{60, 40}},
		{30, 65, Gap{30, 20}},
		{50, 65, Gap{50, 10}},
		{70, 75, Gap{70, 5}},
	}
	for _, test := range tests {
		if got := longestGap(acks, test.from, test.to); got != test.want {
			t.Errorf("longestGap(%d, %d) = %v, want %v", test.from, test.to, got, test.want)
		}
	}
}
