package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// print writes v as JSON, or what text writes.
func (a *app) print(v any, text func(io.Writer)) error {
	if a.json() {
		return a.printJSON(v)
	}
	text(a.out)
	return nil
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fail(classFailed, "", "write JSON: %w", err)
	}
	return nil
}

// say prints a line for people; with --output json standard output belongs to the document.
func (a *app) say(format string, args ...any) {
	w := a.out
	if a.json() {
		w = a.err
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// logger returns the logger of a daemon or of a command that works for long: to standard error, for people on a terminal.
// Its level is the process's, so that a reload can change it.
func (a *app) logger(level, format string) zerolog.Logger {
	a.setLogLevel(level)
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	w := a.err
	if format == "text" || format != "json" && isTerminal(a.err) {
		w = zerolog.ConsoleWriter{Out: a.err, TimeFormat: "15:04:05.000", NoColor: !isTerminal(a.err)}
	}
	return zerolog.New(w).With().Timestamp().Logger()
}

// setLogLevel sets what is logged from now on; the options --quiet and --verbose are stronger than the configuration.
func (a *app) setLogLevel(level string) {
	l, err := zerolog.ParseLevel(firstOf(level, "info"))
	if err != nil {
		l = zerolog.InfoLevel
	}
	switch {
	case a.quiet:
		l = zerolog.ErrorLevel
	case a.verbose == 1:
		l = zerolog.DebugLevel
	case a.verbose > 1:
		l = zerolog.TraceLevel
	}
	zerolog.SetGlobalLevel(l)
}

// table is a set of rows under headings, as wide as its cells, in the look that users of pg_auto_failover know.
type table struct {
	heads []string
	rows  [][]string
}

func newTable(heads ...string) *table { return &table{heads: heads} }

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.heads))
	for _, row := range append([][]string{t.heads}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	writeRow(w, t.heads, widths)
	rules := make([]string, len(widths))
	for i, n := range widths {
		rules[i] = strings.Repeat("-", n+1)
		if i > 0 && i < len(widths)-1 {
			rules[i] += "-"
		}
	}
	fmt.Fprintln(w, strings.Join(rules, "+"))
	for _, row := range t.rows {
		writeRow(w, row, widths)
	}
}

// writeRow aligns to the right, as the model does, except for the last column, which may be prose.
func writeRow(w io.Writer, cells []string, widths []int) {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString(" | ")
		}
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
		if i == len(cells)-1 {
			b.WriteString(cell)
			continue
		}
		b.WriteString(pad + cell)
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// pairs prints names and values, one a line.
func pairs(w io.Writer, rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r[0]))
	}
	for _, r := range rows {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s  %s", width, r[0], printable(r[1])), " "))
	}
}

// printable returns s as it is when a terminal can show it, else quoted: a name must not move the cursor.
func printable(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}

// yesNo prints a boolean in a table.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
