package local

import (
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// TestCheckpointStart: where a shutdown checkpoint begins is found from where it ends, on every offset of a page and across its end, and nothing is found
// where none can end.
func TestCheckpointStart(t *testing.T) {
	const segment = 16 << 20
	ends := map[fsm.LSN]bool{}
	for _, page := range []fsm.LSN{5 * segment, 5*segment + 3*pageSize, 6*segment - pageSize} {
		for start := page + pageHeader(page, segment); start < page+pageSize; start += 8 {
			end := checkpointEnd(start, 15, segment)
			ends[end] = true
			if got, ok := checkpointStart(end, 15, segment); !ok || got != start {
				t.Fatalf("a checkpoint that begins at %v ends at %v; taken for one that begins at %v, %v", start, end, got, ok)
			}
		}
	}
	if _, ok := checkpointStart(64, 15, segment); ok {
		t.Error("a checkpoint ends before the first record")
	}
}
