package conf_test

import (
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// PostgreSQL reads back what Render wrote, and prefers it to what the user
// wrote before.
func TestServerReadsWhatWeWrite(t *testing.T) {
	values := []string{"plain", "", "it's", `back\slash`, "tab\tand\nnewline", `"quoted" # no comment`, `\n`, "é"}
	s := pgtest.New(t, conf.Params{"autoctl.probe": "x"})
	for i, v := range values {
		s.Params["autoctl.v"+string(rune('a'+i))] = v
	}
	s.Write()
	s.Start()
	for i, v := range values {
		if got := s.Query("show autoctl.v" + string(rune('a'+i))); got != v {
			t.Errorf("%q became %q", v, got)
		}
	}
}

// An ALTER SYSTEM beats our file until it is stripped (S8), and a parameter
// that needs a restart is told apart.
func TestAutoConfIsStripped(t *testing.T) {
	s := pgtest.NewStarted(t, conf.Params{"synchronous_standby_names": "ANY 1 (nobody)"})
	s.Exec("alter system set synchronous_standby_names = ''")
	s.Exec("alter system set work_mem = '7MB'")
	removed, err := conf.StripAuto(s.DataDir, []string{"synchronous_standby_names"})
	if err != nil || len(removed) != 1 {
		t.Fatal(removed, err)
	}
	s.Params["max_connections"] = "41"
	s.Write()
	s.Reload()
	var got map[string]pgserver.Setting
	conn := s.Connect()
	for got["work_mem"].Value != "7MB" {
		if got, err = pgserver.ReadSettings(t.Context(), conn, "work_mem", "synchronous_standby_names", "max_connections", "nothing"); err != nil {
			t.Fatal(err)
		}
	}
	if v := got["synchronous_standby_names"]; v.Value != "ANY 1 (nobody)" || v.File != filepath.Join(s.DataDir, conf.FileName) {
		t.Errorf("%+v", v)
	}
	if v := got["max_connections"]; !v.PendingRestart || v.Value != "40" {
		t.Errorf("%+v", v)
	}
	if errs, err := pgserver.ConfigErrors(t.Context(), conn); err != nil || len(errs) != 0 {
		t.Errorf("%v %v", errs, err)
	}
	s.Params["wal_keep_size"] = "many"
	s.Write()
	if errs, err := pgserver.ConfigErrors(t.Context(), conn); err != nil || len(errs) != 1 || errs[0].Name != "wal_keep_size" {
		t.Errorf("%v %v", errs, err)
	}
}
