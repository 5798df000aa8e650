package hba

import (
	"errors"
	"testing"
)

func TestApplyIdent(t *testing.T) {
	const user = "# the user's\nmap1 bryan bryan\n"
	first, err := ApplyIdent([]byte(user), []Mapping{{"autoctl", "node one", "autoctl_replicator"}, {"autoctl", "db2.example.com", "autoctl_replicator"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "# BEGIN autoctl\nautoctl \"node one\" autoctl_replicator\nautoctl db2.example.com autoctl_replicator\n# END autoctl\n" + user
	if string(first) != want {
		t.Errorf("got\n%s\nwant\n%s", first, want)
	}
	again, err := ApplyIdent(first, []Mapping{{"autoctl", "db3", "autoctl_replicator"}})
	if want := "# BEGIN autoctl\nautoctl db3 autoctl_replicator\n# END autoctl\n" + user; err != nil || string(again) != want {
		t.Errorf("got\n%s\nwant\n%s (%v)", again, want, err)
	}
	if none, err := ApplyIdent(again, nil); err != nil || string(none) != user {
		t.Errorf("without mappings: got %q, %v", none, err)
	}
	for _, bad := range []Mapping{{"", "a", "b"}, {"m", "", "b"}, {"m", "a", ""}, {"m", "/.*", "b"}, {"m", "a\nb", "c"}} {
		if _, err := ApplyIdent(nil, []Mapping{bad}); !errors.Is(err, ErrRule) {
			t.Errorf("%+v: got %v", bad, err)
		}
	}
}
