package keeper

import (
	"encoding/json"
	"os"
	"testing"
)

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
		{said.Monitor, said.Node, "other", said.Host, said.Port}, {said.Monitor, said.Node, said.Name, "elsewhere", said.Port},
		{said.Monitor, said.Node, said.Name, said.Host, 5433}, {"postgres://autoctl_node@m2/autoctl", said.Node, said.Name, said.Host, said.Port},
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
