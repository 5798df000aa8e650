package demo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// screen prints a story that scrolls and, on a terminal, a table below it that stays in place.
type screen struct {
	out      io.Writer
	terminal bool
	width    func() int

	mu     sync.Mutex
	block  []string
	frozen bool
}

func newScreen(out io.Writer, terminal bool, width func() int) *screen {
	return &screen{out: out, terminal: terminal, width: width}
}

// say adds a line to the story.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.out, format+"\n", args...)
	s.draw()
}

// update replaces the table on a terminal; elsewhere nothing moves, and [screen.table] prints it where the story wants it.
func (s *screen) update(write func(io.Writer, monitorapi.State), st monitorapi.State, w *writer) {
	if !s.terminal {
		return
	}
	var b bytes.Buffer
	write(&b, st)
	if line := w.status(); line != "" {
		b.WriteString("\n" + line + "\n")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen {
		return
	}
	s.erase()
	s.block = append([]string{""}, strings.Split(strings.TrimRight(b.String(), "\n"), "\n")...)
	s.cut()
	s.draw()
}

// table prints the table as part of the story, where there is no terminal that shows it all the time.
func (s *screen) table(write func(io.Writer, monitorapi.State), st monitorapi.State) {
	if s.terminal {
		return
	}
	var b bytes.Buffer
	write(&b, st)
	s.say("\n%s", strings.TrimRight(b.String(), "\n"))
}

// cut shortens the table's lines to the terminal's width: a line that wraps would be erased in part only.
func (s *screen) cut() {
	if s.width == nil {
		return
	}
	width := s.width()
	for i, line := range s.block {
		if r := []rune(line); width > 1 && len(r) >= width {
			s.block[i] = string(r[:width-1])
		}
	}
}

// freeze leaves the last table where it is and draws no other.
func (s *screen) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal && len(s.block) > 0 && !s.frozen {
		fmt.Fprintln(s.out)
	}
	s.block, s.frozen = nil, true
}

// erase moves back over the table and clears it; draw puts it below the story again.
func (s *screen) erase() {
	if len(s.block) > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\r\x1b[J", len(s.block))
	}
}

func (s *screen) draw() {
	for _, line := range s.block {
		fmt.Fprintf(s.out, "%s\n", line)
	}
}
