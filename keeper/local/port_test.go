package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListenAddresses(t *testing.T) {
	both := []listenAddress{{"tcp4", "0.0.0.0"}, {"tcp6", "::"}}
	for setting, want := range map[string][]listenAddress{
		"": both, "*": both, "127.0.0.1, ::1": {{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}}, "no-such-host.invalid": nil,
	} {
		if diff := cmp.Diff(want, listenAddresses(t.Context(), setting), cmp.AllowUnexported(listenAddress{})); diff != "" {
			t.Errorf("%q: %s", setting, diff)
		}
	}
}
