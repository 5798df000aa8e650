package soak

import (
	"fmt"
	"html"
	"html/template"
	"strings"
)

// A run is drawn as strips one below the other, as music is: each is that many
// seconds long.
const (
	stripSeconds = 300.0
	perSecond    = 4.0 // pixels
	leftMargin   = 84.0
	ruler        = 22.0
	writesHeight = 22.0
	rowHeight    = 9.0
	laneHeight   = 34.0
	laneRows     = 3
)

// strip draws one.
type strip struct {
	rep  *Report
	from float64
	b    strings.Builder
	// busy is when each row of a lane is free again.
	busy map[string][]float64
}

func drawStrip(rep *Report, from float64) template.HTML {
	s := &strip{rep: rep, from: from, busy: map[string][]float64{}}
	lanes := append(append([]string{"monitor"}, rep.Nodes...), "group")
	width, height := leftMargin+stripSeconds*perSecond+8, ruler+writesHeight+float64(len(lanes))*laneHeight+4
	fmt.Fprintf(&s.b, `<svg viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="from %s">`, width, height, width, height, clock(from))
	s.grid(height)
	s.label("writes", ruler, writesHeight)
	s.writes()
	for i, lane := range lanes {
		y := ruler + writesHeight + float64(i)*laneHeight
		s.label(lane, y, laneHeight)
		fmt.Fprintf(&s.b, `<line class="rule" x1="0" x2="%.0f" y1="%.1f" y2="%.1f"/>`, width, y, y)
		s.states(lane, y)
		s.faults(lane, y)
	}
	s.marks(height)
	s.b.WriteString("</svg>")
	return template.HTML(s.b.String()) // every text in it is escaped
}

// x is the place of a time, kept within the strip.
func (s *strip) x(at float64) float64 {
	return leftMargin + min(max(at-s.from, 0), stripSeconds)*perSecond
}

func (s *strip) shows(begin, end float64) bool {
	return end >= s.from && begin < s.from+stripSeconds
}

func (s *strip) grid(height float64) {
	for at := 0.0; at <= stripSeconds; at += 30 {
		x := s.x(s.from + at)
		fmt.Fprintf(&s.b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.0f" y2="%.0f"/>`, x, x, ruler, height)
		if at < stripSeconds {
			fmt.Fprintf(&s.b, `<text class="tick" x="%.1f" y="12">%s</text>`, x+3, clock(s.from+at))
		}
	}
}

func (s *strip) label(text string, y, height float64) {
	fmt.Fprintf(&s.b, `<text class="lane" x="%.0f" y="%.1f">%s</text>`, leftMargin-8, y+height/2+4, html.EscapeString(text))
}

// box draws a span as a rectangle with a title that appears under the pointer.
func (s *strip) box(class string, begin, end, y, height float64, title string) {
	x := s.x(begin)
	fmt.Fprintf(&s.b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="1.5"><title>%s</title></rect>`,
		class, x, y, max(s.x(end)-x, 3), height, html.EscapeString(title))
}

// writes shows whose acknowledgements came, and where none did.
func (s *strip) writes() {
	for _, v := range s.rep.Serving {
		if s.shows(v.Begin, v.End) {
			s.box("serve "+s.color(v.Host), v.Begin, v.End, ruler+3, writesHeight-6,
				fmt.Sprintf("%s acknowledges writes, %s to %s", v.Host, clock(v.Begin), clock(v.End)))
		}
	}
	for _, g := range s.rep.Gaps {
		if s.shows(g.Begin, g.Begin+g.Length) {
			s.box("gap", g.Begin, g.Begin+g.Length, ruler+3, writesHeight-6,
				fmt.Sprintf("no write acknowledged for %.2f s, from %s", g.Length, clock(g.Begin)))
		}
	}
}

func (s *strip) color(host string) string {
	for i, name := range s.rep.Nodes {
		if name == host {
			return fmt.Sprintf("n%d", i%6)
		}
	}
	return "n9"
}

// states shows at the foot of a lane what the node was asked to be.
func (s *strip) states(lane string, y float64) {
	for _, v := range s.rep.States {
		if v.Host != lane || !s.shows(v.Begin, v.End) {
			continue
		}
		class := "state other"
		switch v.What {
		case "primary", "wait_primary", "single":
			class = "state " + s.color(lane)
		case "secondary":
			class = "state following"
		}
		s.box(class, v.Begin, v.End, y+laneHeight-5, 4, fmt.Sprintf("%s is asked to be %s, %s to %s", lane, v.What, clock(v.Begin), clock(v.End)))
	}
}

// faults shows what was done to a host; what overlaps lies in rows below each
// other.
func (s *strip) faults(lane string, y float64) {
	rows := make([]float64, laneRows)
	for _, f := range sortedFaults(s.rep.Faults) {
		if f.Host != lane || f.Skipped != "" || !s.shows(f.Begin, f.End) {
			continue
		}
		row := 0
		for row < laneRows-1 && rows[row] > f.Begin {
			row++
		}
		rows[row] = max(f.End, f.Begin+3/perSecond)
		top := y + 1.5 + float64(row)*rowHeight
		title := fmt.Sprintf("%s on %s %s, burst %d, %s to %s (%.1f s)\n%s", f.Kind, f.Host, f.Role, f.Burst, clock(f.Begin), clock(f.End), f.End-f.Begin, f.Detail)
		if f.Result != "" {
			title += "\n" + f.Result
		}
		s.box("fault "+family(f.Kind), f.Begin, f.End, top, rowHeight-1.5, title+fmt.Sprintf("\nlongest time without an acknowledged write: %.2f s", f.Unavailable))
		if (f.End-f.Begin)*perSecond > float64(len(f.Kind))*4.6 && f.Begin >= s.from {
			fmt.Fprintf(&s.b, `<text class="in" x="%.1f" y="%.1f">%s</text>`, s.x(f.Begin)+2, top+rowHeight-3, html.EscapeString(f.Kind))
		}
	}
}

// marks shows what concerns everything: failovers, recoveries, anomalies.
func (s *strip) marks(height float64) {
	for _, f := range s.rep.Failovers {
		if s.shows(f.At, f.At) {
			x := s.x(f.At)
			fmt.Fprintf(&s.b, `<g class="failover"><title>%s is elected at %s: %s</title><line x1="%.1f" x2="%.1f" y1="%.0f" y2="%.0f"/><path d="M%.1f %.0f l-5 -8 h10 z"/></g>`,
				html.EscapeString(f.Host), clock(f.At), html.EscapeString(f.Reason), x, x, ruler, height, x, ruler)
		}
	}
	for _, b := range s.rep.Bursts {
		if b.Whole > 0 && s.shows(b.Healed, b.Whole) {
			s.box("recovery", b.Healed, b.Whole, ruler-2, 3, fmt.Sprintf("burst %d: whole again %.1f s after everything was healed", b.Number, b.Whole-b.Healed))
		}
	}
	for _, a := range s.rep.Anomalies {
		if s.shows(a.At, a.At) {
			s.box("anomaly", a.At-1, a.At+1, ruler, height-ruler, fmt.Sprintf("ANOMALY at %s, %s: %s", clock(a.At), a.Promise, a.What))
		}
	}
}
