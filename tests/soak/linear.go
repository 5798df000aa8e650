package soak

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// judgement is what was found out about the history of a key.
type judgement struct {
	violated  bool // writes, swaps and confirmed reads are not linearizable
	undecided bool // the search took too long
	plain     bool // together with plain reads they are not
}

// decideWithin bounds the search for an order of a history.
const decideWithin = 20 * time.Second

// judge says whether the history of one key could be that of a single copy.
func judge(history []operation) judgement {
	confirmed := slices.DeleteFunc(slices.Clone(history), func(op operation) bool { return op.kind == opPlainRead })
	result := linearizable(confirmed)
	j := judgement{violated: result == porcupine.Illegal, undecided: result == porcupine.Unknown}
	if !j.violated && !j.undecided && len(confirmed) < len(history) {
		j.plain = linearizable(history) == porcupine.Illegal
	}
	return j
}

// linearizable asks porcupine. What is pending has no end, and a search among
// many of those would not end either: where nobody read a value, it is first
// supposed that it was never written. That proves a history right, and not wrong: a
// swap that failed may have met it.
func linearizable(history []operation) porcupine.CheckResult {
	likely := slices.DeleteFunc(slices.Clone(history), unseen(history))
	result := search(likely)
	if result == porcupine.Illegal && len(likely) < len(history) {
		result = search(history)
	}
	return result
}

// unseen tells operations without an answer whose value nobody read.
func unseen(history []operation) func(operation) bool {
	seen := map[int64]bool{}
	for _, op := range history {
		switch op.kind {
		case opRead, opPlainRead:
			seen[op.value] = true
		case opSwap:
			seen[op.old] = true
		default:
		}
	}
	return func(op operation) bool { return op.pending && !seen[op.value] }
}

func search(history []operation) porcupine.CheckResult {
	var ops []porcupine.Operation
	for _, op := range history {
		end := op.back
		if op.pending {
			end = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: op.client, Input: op, Output: op, Call: op.call, Return: end})
	}
	return porcupine.CheckOperationsTimeout(registerModel, ops, decideWithin)
}

// registerModel is a single copy of a value.
var registerModel = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		op, have := input.(operation), state.(int64)
		switch op.kind {
		case opWrite:
			return true, op.value
		case opSwap:
			// The row has to be there: 0 stands for none.
			matches := have == op.old && have != 0
			if matches {
				have = op.value
			}
			return op.pending || op.swapped == matches, have
		default:
			return op.value == have, have
		}
	},
}

// describe prints a history, for people.
func describe(history []operation) string {
	sorted := slices.SortedFunc(slices.Values(history), func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	var b strings.Builder
	names := map[kindOf]string{opWrite: "write", opSwap: "swap", opRead: "read", opPlainRead: "plain read"}
	for _, op := range sorted {
		fmt.Fprintf(&b, "%12.6f .. %12.6f  key %d  client %d  %-10s %d", float64(op.call)/1e9, float64(op.back)/1e9, op.key, op.client, names[op.kind], op.value)
		if op.kind == opSwap {
			fmt.Fprintf(&b, " for %d: %v", op.old, op.swapped)
		}
		if op.pending {
			b.WriteString("  (no answer)")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
