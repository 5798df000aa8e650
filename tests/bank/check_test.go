package bank

import (
	"strings"
	"testing"
)

// TestCheck is the checker's own test: fed with something lost, invented, half done or unequal it has to say so, or its silence means nothing.
func TestCheck(t *testing.T) {
	entries := []entry{{11, 1, 1}, {12, 1, 1}, {11, 2, 1}, {11, 2, 2}}
	accounts := []account{{ID: 11, Client: 1, Balance: 1}, {ID: 12, Client: 1, Balance: -1}, {ID: 13, Client: 2, Touched: 0}}
	rates := map[int]int{3: 4}
	tests := map[string]struct {
		change func(*found)
		err    string // substring, "" for none
	}{
		"all there":                   {func(*found) {}, ""},
		"the unacknowledged one gone": {func(f *found) { f.entries = f.entries[:3] }, ""},
		"an acknowledged one gone":    {func(f *found) { f.entries = append(f.entries[:2:2], entry{11, 2, 2}) }, "1 of 2 acknowledged rows are lost"},
		"one that nobody sent":        {func(f *found) { f.entries = append(f.entries, entry{11, 2, 9}) }, "1 rows that nobody sent"},
		"half a transfer":             {func(f *found) { f.entries = f.entries[1:] }, "half of it is missing"},
		"a balance of something else": {func(f *found) { f.accounts = []account{{ID: 11, Client: 1, Balance: 2}} }, "its transfers say 1"},
		"a rate of yesterday":         {func(f *found) { f.rates = map[int]int{3: 2} }, "the table says 2"},
		"a rate of tomorrow":          {func(f *found) { f.rates = map[int]int{3: 6} }, "the table says 6"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := &Bank{}
			for i, k := range []kind{{name: "transfer", writes: true}, {name: "write", writes: true}, {name: "reference"}} {
				b.clients = append(b.clients, &client{bank: b, id: i + 1, kind: k, accounts: []int{11, 12}, acked: map[int]bool{}})
			}
			b.clients[0].sent, b.clients[0].acked = 1, map[int]bool{1: true}
			b.clients[1].sent, b.clients[1].acked = 2, map[int]bool{1: true}
			b.clients[2].sent, b.clients[2].acked = 5, map[int]bool{3: true}
			f := found{accounts: accounts, entries: append([]entry(nil), entries...), rates: rates}
			test.change(&f)
			switch _, err := b.check(f); {
			case test.err == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("error %v does not say %q", err, test.err)
			}
		})
	}
}
