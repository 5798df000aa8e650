package monitorapi

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// TestClassifySQL_Login: a login that was refused says what to do about just that.
func TestClassifySQL_Login(t *testing.T) {
	for message, want := range map[string]string{
		`role "autoctl_node" does not exist`:                                                 "still being made",
		`password authentication failed for user "autoctl_node"`:                             "PGPASSWORD",
		`connection requires a valid client certificate`:                                     "sslcert=",
		`no pg_hba.conf entry for host "198.18.0.1", user "u", database "d"`:                 "does not admit this address",
		`no pg_hba.conf entry for host "198.18.0.1", user "u", database "d", no encryption"`: "sslmode=require",
	} {
		err := classifySQL(&pgconn.PgError{Code: "28000", Message: message}, "h:5000")
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != CodeAuth || !strings.Contains(e.Hint, want) {
			t.Errorf("%s: %+v", message, err)
		}
	}
}
