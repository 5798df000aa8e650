package keeper

import "testing"

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		control string
		old     bool
	}{
		{"comment = 'x'\ndefault_version = '11.3-1'\n", true},
		{"default_version = '12.0-1'\n", true},
		{"default_version='12.1-1'\n", false},
		{"default_version = '13.0-1'\n", false},
		{"default_version = '9.5-3'\n", true},
		{"default_version = '12'\n", true},
	} {
		if got := older(defaultVersion(c.control), oldestCitus); got != c.old {
			t.Errorf("%q: older %v", c.control, got)
		}
	}
	if v := defaultVersion("comment = 'x'"); v != "" {
		t.Errorf("version %q", v)
	}
}
