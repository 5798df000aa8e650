package hba

import (
	"bytes"
	"strings"
)

// Token is one word of a line. A quoted word is never a keyword.
type Token struct {
	Text   string
	Quoted bool
}

// Field is a comma-separated list of tokens.
type Field []Token

// is says whether a field is exactly the given unquoted word.
func (f Field) is(word string) bool {
	return len(f) == 1 && !f[0].Quoted && f[0].Text == word
}

// Line is one logical line of pg_hba.conf. Raw has it byte for byte, with its
// end and, where backslashes continue it, all its physical lines. Fields is
// empty for comments and empty lines.
type Line struct {
	Number int // of its first physical line, from 1
	Raw    string
	Fields []Field
}

// Tokenize splits a pg_hba.conf by the rules of next_token in
// src/backend/libpq/hba.c: blanks separate fields, commas the tokens of a
// field, double quotes protect both, # begins a comment, and a backslash at
// the end continues a line (14). The Raw of all lines together is the file.
func Tokenize(file []byte) []Line {
	var lines []Line
	number := 1
	physical := splitLines(file)
	for i := 0; i < len(physical); {
		l := Line{Number: number}
		var raw, text strings.Builder
		for {
			raw.Write(physical[i])
			part := strings.TrimRight(string(physical[i]), "\r\n")
			i++
			number++
			continued, ok := strings.CutSuffix(part, `\`)
			text.WriteString(continued)
			if !ok || i == len(physical) {
				break
			}
		}
		l.Raw, l.Fields = raw.String(), fields(text.String())
		lines = append(lines, l)
	}
	return lines
}

// splitLines cuts after each newline; the pieces together are the input.
func splitLines(file []byte) [][]byte {
	return bytes.SplitAfter(file, []byte("\n"))[:lineCount(file)]
}

func lineCount(file []byte) int {
	n := bytes.Count(file, []byte("\n"))
	if len(file) > 0 && file[len(file)-1] != '\n' {
		n++
	}
	return n
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v'
}

// fields splits one logical line.
func fields(text string) []Field {
	s := scanner{text: text}
	var out []Field
	for {
		var f Field
		for {
			tok, ok := s.token()
			if !ok {
				break
			}
			f = append(f, tok)
			if !s.comma {
				break
			}
		}
		if len(f) == 0 {
			return out
		}
		out = append(out, f)
	}
}

type scanner struct {
	text  string
	pos   int
	comma bool // the last token was followed by a comma
}

// token reads one word; ok is false at the end of the line or at a comment.
func (s *scanner) token() (tok Token, ok bool) {
	s.comma = false
	for s.pos < len(s.text) && (isBlank(s.text[s.pos]) || s.text[s.pos] == ',') {
		s.pos++
	}
	var b strings.Builder
	inQuote, wasQuote := false, false
	started := false
	for ; s.pos < len(s.text); s.pos++ {
		c := s.text[s.pos]
		if !inQuote && (isBlank(c) || c == ',') {
			break
		}
		if c == '#' && !inQuote {
			s.pos = len(s.text)
			break
		}
		started = true
		if c != '"' || wasQuote {
			b.WriteByte(c)
		}
		// A quote right after a closing one is a literal quote.
		wasQuote = inQuote && c == '"' && !wasQuote
		if c == '"' {
			inQuote = !inQuote
			tok.Quoted = tok.Quoted || b.Len() == 0
		}
	}
	s.comma = s.pos < len(s.text) && s.text[s.pos] == ','
	tok.Text = b.String()
	return tok, started
}
