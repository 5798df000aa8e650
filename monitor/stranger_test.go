package monitor

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestStranger: a URI that leads to another PostgreSQL is told from a monitor that wants a password, whatever that server asks of us first.
func TestStranger(t *testing.T) {
	server := pgtest.NewStarted(t, nil)
	user := server.Query("select current_user")
	own := "local all " + user + " peer\nhost all " + user + " all trust\n"
	for name, rules := range map[string]string{
		"lets anybody in":         own + "host all all all trust\n",
		"asks for a password":     own + "host all all all scram-sha-256\n",
		"asks for an md5":         own + "host all all all md5\n",
		"does not know us at all": own,
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(server.DataDir, "pg_hba.conf"), []byte(rules), 0o600); err != nil {
				t.Fatal(err)
			}
			server.Reload()
			uri := "postgres://autoctl_node@127.0.0.1:" + strconv.Itoa(server.Port) + "/autoctl?sslmode=disable"
			for _, password := range []string{"", "wrong"} {
				t.Setenv("PGPASSWORD", password)
				_, err := monitorapi.Dial(t.Context(), uri, monitorapi.Options{})
				wantCode(t, err, monitorapi.CodeNotMonitor)
			}
		})
	}
}

// TestPasswordWanted: a monitor that wants a password says that, and not that it is no monitor.
func TestPasswordWanted(t *testing.T) {
	b := newBench(t)
	b.c.Auth = AuthSCRAM
	b.create()
	b.start()
	for _, password := range []string{"", "wrong"} {
		t.Setenv("PGPASSWORD", password)
		b.eventually("it asks for a password", func() bool {
			_, err := monitorapi.Dial(t.Context(), b.uri(), monitorapi.Options{})
			return monitorapi.CodeOf(err) == monitorapi.CodeAuth
		})
	}
}

// TestUnexpectedError: an error of the monitor's own database is a failure, not a refusal, and no doubt whether it is a monitor.
func TestUnexpectedError(t *testing.T) {
	b := newBench(t)
	b.create()
	b.start()
	client := b.dial()
	b.troubled = true
	conn, err := b.c.connect(t.Context(), Database, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	f := monitorapi.Formation{Name: "made", Kind: fsm.KindPgsql, Database: "postgres"}
	for _, damage := range []string{
		"alter table autoctl.formation add constraint surprise check (name <> 'made')",
		"alter table autoctl.formation rename to lost",
	} {
		if _, err := conn.Exec(t.Context(), damage); err != nil {
			t.Fatal(damage, err)
		}
		wantCode(t, client.CreateFormation(t.Context(), f), monitorapi.CodeFailed)
	}
}
