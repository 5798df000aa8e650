package pgtest

import (
	"os"
	"testing"
	"time"
)

func TestServer(t *testing.T) {
	begin := time.Now()
	s := NewStarted(t, nil)
	t.Logf("new and started: %v", time.Since(begin))
	if got := s.Query("show port"); got == "5432" {
		t.Errorf("server took the default port")
	}
	if os.Geteuid() == 0 {
		t.Error("still root while a server's test runs")
	}
	begin = time.Now()
	standby := s.Standby("b", nil)
	t.Logf("standby: %v", time.Since(begin))
	if got := standby.Query("select pg_is_in_recovery()"); got != "t" {
		t.Errorf("standby in recovery: %s", got)
	}
}

func TestUserComesBack(t *testing.T) {
	before := os.Geteuid()
	t.Run("server", func(t *testing.T) { AsServerUser(t); AsServerUser(t) })
	if os.Geteuid() != before {
		t.Errorf("effective user %d, was %d", os.Geteuid(), before)
	}
}
