package monitor

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// TestNodePersisted: whatever Decide keeps in a node is handed to it by autoctl.group_snapshot; a field that is not would be forgotten between two
// decisions. What is measured, rather than kept, comes from elsewhere.
func TestNodePersisted(t *testing.T) {
	sql, err := os.ReadFile("sql/api/10_internal.sql")
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[fsm.Node]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "-" && !strings.Contains(string(sql), "'"+name+"',") {
			t.Errorf("group_snapshot does not hand out %q of fsm.Node", name)
		}
	}
}
