package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where watch draws one text over the other: a terminal; anything else gets one text after the other.
type screen struct {
	w io.Writer
	// size is asked for at every drawing; nil where w is no terminal.
	size func() (width, height int, err error)
	// clear wipes the terminal before the next drawing.
	clear bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		s.size, s.clear = func() (int, int, error) { return term.GetSize(int(f.Fd())) }, true
	}
	return s
}

// draw shows a text of whole lines. Of one that the terminal cannot hold it shows the beginning, and says how much is left out: nothing scrolls away.
func (s *screen) draw(text string) error {
	if s.size == nil {
		_, err := fmt.Fprintf(s.w, "%s\n", text)
		return err
	}
	width, height, err := s.size()
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	lines := fit(strings.Split(strings.TrimRight(text, "\n"), "\n"), width, height)
	for i, line := range lines {
		if n := utf8.RuneCountInString(line); n == 0 || n%width != 0 { // at the right edge there is nothing to clear, and clearing would take the last letter
			lines[i] += "\x1b[K"
		}
	}
	// Home, each line cleared to its end, the rest of the screen cleared: no flicker. No newline after the last: it would scroll.
	start := "\x1b[H"
	if s.clear {
		start, s.clear = "\x1b[H\x1b[2J", false
	}
	_, err = fmt.Fprint(s.w, start+strings.Join(lines, "\r\n")+"\x1b[J")
	return err
}

// fit keeps the first lines that a terminal can hold, long ones being wrapped by it, and tells of the others in the last.
func fit(lines []string, width, height int) []string {
	rows := func(line string) int { return max(1, (utf8.RuneCountInString(line)+width-1)/width) }
	used, keep := 0, 0
	for used < height && keep < len(lines) {
		if used += rows(lines[keep]); used <= height {
			keep++
		}
	}
	if keep == len(lines) {
		return lines
	}
	used = 1 // the line that tells
	for i := range keep {
		if used += rows(lines[i]); used > height {
			keep = i
			break
		}
	}
	told := fmt.Sprintf("... %d more lines: make the window larger", len(lines)-keep)
	return append(lines[:keep:keep], told[:min(len(told), width)])
}
