package conf

import (
	"bytes"
	"strings"
)

// line is one line of a configuration file: raw as it stands, with its end of
// line; name and value when it sets something; bad when PostgreSQL would
// refuse it.
type line struct {
	raw   []byte
	name  string
	value string
	bad   bool
}

// parse reads a file by the rules of src/backend/utils/misc/guc-file.l. No
// value spans lines there.
func parse(data []byte) []line {
	var lines []line
	for len(data) > 0 {
		n := bytes.IndexByte(data, '\n') + 1
		if n == 0 {
			n = len(data)
		}
		lines = append(lines, parseLine(data[:n:n]))
		data = data[n:]
	}
	return lines
}

func join(lines []line) []byte {
	var b []byte
	for _, l := range lines {
		b = append(b, l.raw...)
	}
	return b
}

const blanks = " \t\r\n"

func parseLine(raw []byte) line {
	l := line{raw: raw}
	text := strings.TrimLeft(string(raw), blanks)
	if text == "" || text[0] == '#' {
		return l
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !isName("x" + string(r) + "x") })
	if end < 0 {
		end = len(text)
	}
	name, rest := text[:end], strings.TrimLeft(text[end:], blanks)
	rest = strings.TrimLeft(strings.TrimPrefix(rest, "="), blanks)
	value, rest, ok := scanValue(rest)
	rest = strings.TrimLeft(rest, blanks)
	if !ok || !isName(name) || rest != "" && rest[0] != '#' {
		l.bad = true
		return l
	}
	l.name, l.value = name, value
	return l
}

// scanValue reads a quoted or a bare value.
func scanValue(text string) (value, rest string, ok bool) {
	if text == "" || text[0] == '#' {
		return "", text, false
	}
	if text[0] != '\'' {
		end := strings.IndexAny(text, blanks+"#'")
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], end > 0
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
		case text[i] == '\'' && strings.HasPrefix(text[i+1:], "'"):
			i++
		case text[i] == '\'':
			return unquote(text[1:i]), text[i+1:], true
		}
	}
	return "", "", false
}

// unquote undoes Quote, and the octal escapes that PostgreSQL reads as well.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			i += unescape(&b, s[i:])
		case s[i] == '\'':
			i++ // the second of two
			b.WriteByte('\'')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// unescape writes the character that the escape at the start of s stands for
// and returns how many more bytes than one it took.
func unescape(b *strings.Builder, s string) int {
	if i := strings.IndexByte("bfnrt", s[0]); i >= 0 {
		b.WriteByte("\b\f\n\r\t"[i])
		return 0
	}
	n, octal := 0, 0
	for n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '7' {
		octal = octal<<3 + int(s[n]-'0')
		n++
	}
	if n == 0 {
		b.WriteByte(s[0])
		return 0
	}
	b.WriteByte(byte(octal))
	return n - 1
}
