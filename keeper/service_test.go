package keeper

import (
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper/state"
)

// TestAwaitEnd_States: a stop tells of states, and of none before there is one.
func TestAwaitEnd_States(t *testing.T) {
	store, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{store: store, ended: make(chan struct{})}
	close(s.ended)
	told := func() (news []string) {
		t.Helper()
		if err := s.awaitEnd(t.Context(), func(text string) { news = append(news, text) }); err != nil {
			t.Fatal(err)
		}
		return news
	}
	if news := told(); len(news) > 0 {
		t.Errorf("of a node without a state: %q", news)
	}
	if err := store.Update(func(m *fsm.Memory) { m.State, m.Goal.State = fsm.StatePrimary, fsm.StateDraining }); err != nil {
		t.Fatal(err)
	}
	if news := told(); len(news) != 1 || news[0] != "reported primary, assigned draining" {
		t.Errorf("of a primary: %q", news)
	}
}
