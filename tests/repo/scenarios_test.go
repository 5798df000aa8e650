package repo

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// TestScenarios: every test that docs/scenarios.md names exists, every numbered situation has one, and every scenario is on the page.
func TestScenarios(t *testing.T) {
	names := testNames(t)
	page := read(t, "docs/scenarios.md")
	named := map[string]bool{}
	for line := range strings.SplitSeq(page, "\n") {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| the situation") || strings.HasPrefix(line, "| |") {
			continue
		}
		found := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[len(cells)-2], -1)
		if len(found) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, m := range found {
			named[m[1]] = true
			if !names[m[1]] {
				t.Errorf("%s does not exist: %s", m[1], line)
			}
		}
	}
	for i := 1; i <= 15; i++ {
		if i != 14 && !strings.Contains(page, fmt.Sprintf("\n| A%d |", i)) { // A14 is Citus'
			t.Errorf("A%d is missing", i)
		}
	}
	for _, s := range sources(t) {
		if s.dir != "tests" || !s.test || strings.HasPrefix(s.path, "tests/citus") {
			continue
		}
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" && !named[f.Name.Name] {
				t.Errorf("docs/scenarios.md does not name %s", f.Name.Name)
			}
		}
	}
}

// clocks lists the files that may look at a clock that people set, each with its
// reason: no decision depends on what they see there.
var clocks = map[string]string{
	"internal/pgserver/conf/conf.go":      "the age of a file that an editor has just emptied; PostgreSQL never sees the difference",
	"internal/pgserver/probe/exchange.go": "a deadline that has passed, whatever the time is",
	"internal/pgserver/postmaster.go":     "when a server was started, for people",
	"keeper/local/data.go":                "whether a file has changed, not when",
	"keeper/local/files.go":               "whether a file has changed, not when",
	"keeper/local/sight.go":               "the age of the receiver's last message by the server's own clock, which a look before bounds by ours",
	"monitor/migrate.go":                  "when a migration was applied, for people",
	"monitor/sql/api/10_internal.sql":     "the time of events and answers, for people",
	"monitor/sql/api/20_keeper.sql":       "when a report came, for people: the loop ages it by its own clock",
	"monitor/sql/api/40_read.sql":         "what show and explain print",
	"monitor/sql/api/45_places.sql":       "whether a node is heard, of a monitor that would raise its epochs: it waits otherwise",
	"monitor/watch.go":                    "the loop's sign of life, for people",
}

// fsmTime is what decisions may use of package time: lengths, never moments.
var fsmTime = map[string]bool{"Duration": true, "Nanosecond": true, "Microsecond": true, "Millisecond": true, "Second": true, "Minute": true, "Hour": true}

// TestNoWallClock: no decision reads the clock on the wall. Decisions are handed an instant of a monotonic clock; monitor and keeper
// measure by time.Since, which does not see a clock that is set, and ask no server for the time but for what people read.
func TestNoWallClock(t *testing.T) {
	methods := map[string]bool{"Unix": true, "UnixMilli": true, "UnixMicro": true, "UnixNano": true, "ModTime": true, "Date": true, "AppendFormat": true}
	used := map[string]bool{}
	report := func(path, where, what string) {
		used[path] = true
		if clocks[path] == "" {
			t.Errorf("%s: %s: decisions measure by a monotonic clock", where, what)
		}
	}
	for _, s := range sources(t) {
		program := strings.HasPrefix(s.dir, "monitor") || strings.HasPrefix(s.dir, "keeper") || strings.HasPrefix(s.dir, "internal") || s.dir == "fsm" || s.dir == "citus"
		if s.test || !program || strings.HasSuffix(s.dir, "test") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				isTime := ok && pkg.Name == "time"
				switch {
				case (s.dir == "fsm" || s.dir == "citus") && isTime && !fsmTime[n.Sel.Name]:
					t.Errorf("%s: time.%s: decisions are handed an instant", s.position(n.Pos()), n.Sel.Name)
				case methods[n.Sel.Name]:
					report(s.path, s.position(n.Pos()), n.Sel.Name)
				}
			case *ast.BasicLit:
				if asksTime.MatchString(n.Value) {
					report(s.path, s.position(n.Pos()), "asks a server for the time")
				}
			}
			return true
		})
	}
	walk(t, func(path string) {
		// Migrations only give rows that people read a default.
		if strings.HasSuffix(path, ".sql") && !strings.Contains(path, "/migrations/") && path != "monitor/sql/roles.sql" && asksTime.MatchString(read(t, path)) {
			report(path, path, "asks for the time")
		}
	})
	for path := range clocks {
		if !used[path] {
			t.Errorf("%s no longer looks at a clock: take it off the list", path)
		}
	}
}

var asksTime = regexp.MustCompile(`(?i)\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)\(\)|\bcurrent_timestamp\b`)
