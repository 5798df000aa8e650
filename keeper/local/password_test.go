package local

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestWrongPassword(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("no route to host"), false},
		{fmt.Errorf("connect: %w", &pgconn.PgError{Code: "28P01"}), true},
		{fmt.Errorf("connect: %w", &pgconn.PgError{Code: "28000"}), false}, // no line of pg_hba.conf
	} {
		if got := wrongPassword(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
