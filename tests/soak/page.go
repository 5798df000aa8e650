package soak

import (
	"bytes"
	_ "embed" // for the template
	"fmt"
	"html/template"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"s":     func(v float64) string { return fmt.Sprintf("%.1f", v) },
	"ss":    func(v float64) string { return fmt.Sprintf("%.2f", v) },
	"clock": clock,
	"minus": func(a, b float64) float64 { return a - b },
}).Parse(pageText))

// clock prints seconds as minutes and seconds.
func clock(seconds float64) string {
	return fmt.Sprintf("%d:%02d", int(seconds)/60, int(seconds)%60)
}

// page is what the template sees.
type page struct {
	*Report
	Strips        []template.HTML
	Took          int
	Median, Worst float64
	Longest       float64
	Kinds         []entry
	FaultsOf      map[int][]*Fault
	Palette       []entry
	ServingShare  string
}

// entry is a line of a list: a word and what it stands for.
type entry struct{ Name, About string }

// renderPage is the report as one page that needs nothing else.
func renderPage(rep *Report) ([]byte, error) {
	p := page{Report: rep, FaultsOf: map[int][]*Fault{}}
	for _, f := range rep.Faults {
		p.FaultsOf[f.Burst] = append(p.FaultsOf[f.Burst], f)
		p.Took += count(f.Skipped == "")
	}
	p.Median, p.Worst = convergence(rep)
	unavailable := 0.0
	for _, g := range rep.Gaps {
		p.Longest = max(p.Longest, g.Length)
		unavailable += g.Length
	}
	if rep.Seconds > 0 {
		p.ServingShare = fmt.Sprintf("%.1f %%", 100*(1-unavailable/rep.Seconds))
	}
	for i, name := range rep.Nodes {
		p.Palette = append(p.Palette, entry{name, fmt.Sprintf("n%d", i%6)})
	}
	for _, k := range kinds {
		p.Kinds = append(p.Kinds, entry{k.name, k.about})
	}
	for from := 0.0; from < max(rep.Seconds, 1); from += stripSeconds {
		p.Strips = append(p.Strips, drawStrip(rep, from))
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("render the report: %w", err)
	}
	return b.Bytes(), nil
}
