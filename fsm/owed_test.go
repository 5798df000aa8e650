package fsm

import "testing"

// TestOwed: a voter whose log is of an epoch that the record does not know, as that of a monitor that was restored may not, owes what the whole record does: the group is not left
// without anybody who may be elected (P3).
func TestOwed(t *testing.T) {
	r := Record{{Seq: 6, Epoch: 1, K: 1, Primary: Member{1, 1}, Members: []Member{{2, 1}}}}
	d := newDecider(Group{Record: r, Settings: DefaultSettings()}, 0)
	a, b := &Node{ID: 1, Report: &Report{Node: 1, Generation: 1}}, &Node{ID: 2, Report: &Report{Node: 2, Generation: 1}}
	if !d.suffice([]ballot{{a, Position{Epoch: 1}}, {b, Position{Epoch: 2}}}) {
		t.Errorf("owed: %+v", d.owed([]ballot{{b, Position{Epoch: 2}}}))
	}
	if d.suffice([]ballot{{&Node{ID: 3, Report: &Report{Node: 3, Generation: 1}}, Position{Epoch: 2}}}) {
		t.Error("nobody who covers the record has voted")
	}
}
