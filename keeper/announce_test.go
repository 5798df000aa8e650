package keeper

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper/state"
)

// away is a monitor that cannot be reached while err is set.
type away struct {
	err  error
	told []string
}

func (m *away) Register(_ context.Context, r monitorapi.Registration) (monitorapi.Registered, error) {
	if m.err == nil {
		m.told = append(m.told, r.Host)
	}
	return monitorapi.Registered{Node: 2}, m.err
}

// TestTell_Away: a new address that the monitor could not be told of is never taken for one that it knows, and is told as soon as it answers.
func TestTell_Away(t *testing.T) {
	dir := t.TempDir()
	store, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{store: store, node: &postgres{}, unheard: make(chan struct{}, 1)}
	m, cfg := &away{err: &monitorapi.Error{Code: monitorapi.CodeUnreachable}}, Config{StateDir: dir, Name: "a", Host: "new"}
	for range 2 { // the command may be repeated
		if err := s.tell(t.Context(), m, cfg); monitorapi.CodeOf(err) != monitorapi.CodeUnreachable {
			t.Errorf("of a monitor that is away: %v", err)
		}
	}
	select {
	case <-s.unheard:
	default:
		t.Error("nobody tells the monitor later")
	}
	m.err = nil
	for range 2 {
		if err := s.tell(t.Context(), m, cfg); err != nil {
			t.Error(err)
		}
	}
	if len(m.told) != 1 || m.told[0] != "new" || len(s.unheard) != 0 {
		t.Errorf("told %v", m.told)
	}
}

// TestAnnouncedOnce: what the monitor has heard is not said again, so that a name or address that an operator gave there stays; what
// the configuration changes is news, and a file that cannot be read costs one announcement only.
func TestAnnouncedOnce(t *testing.T) {
	dir := t.TempDir()
	said := announcement{Monitor: "postgres://autoctl_node@m/autoctl", Node: 2, Name: "node2", Host: "db2", Port: 5432}
	if announced(dir, said) {
		t.Error("announced before anything was")
	}
	data, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		if err := os.WriteFile(announcedFile(dir), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(data)
	if !announced(dir, said) {
		t.Error("not known to be announced")
	}
	for _, news := range []announcement{
		{said.Monitor, said.Node, "other", said.Host, said.Port, 0}, {said.Monitor, said.Node, said.Name, "elsewhere", said.Port, 0},
		{said.Monitor, said.Node, said.Name, said.Host, 5433, 0}, {"postgres://autoctl_node@m2/autoctl", said.Node, said.Name, said.Host, said.Port, 0},
		{said.Monitor, said.Node, said.Name, said.Host, said.Port, 6432},
	} {
		if announced(dir, news) {
			t.Errorf("%+v counts as announced", news)
		}
	}
	write([]byte("{"))
	if announced(dir, said) {
		t.Error("a damaged file counts")
	}
}
