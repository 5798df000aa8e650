package soak

import "testing"

// history builds operations one after the other, each 10 long and 10 apart.
func history(ops ...operation) []operation {
	for i := range ops {
		if ops[i].call == 0 {
			ops[i].call = int64(20 * (i + 1))
		}
		ops[i].back = ops[i].call + 10
		ops[i].client = i
	}
	return ops
}

func TestJudge(t *testing.T) {
	write := func(v int64) operation { return operation{kind: opWrite, value: v} }
	lost := func(v int64) operation { return operation{kind: opWrite, value: v, pending: true} }
	read := func(v int64) operation { return operation{kind: opRead, value: v} }
	plain := func(v int64) operation { return operation{kind: opPlainRead, value: v} }
	swap := func(old, v int64, done bool) operation {
		return operation{kind: opSwap, old: old, value: v, swapped: done}
	}
	for name, c := range map[string]struct {
		ops  []operation
		want judgement
	}{
		"in order":                               {history(read(0), write(1), read(1), write(2), read(2)), judgement{}},
		"a write is lost":                        {history(write(1), write(2), read(1)), judgement{violated: true}},
		"a value from nowhere":                   {history(write(1), read(7)), judgement{violated: true}},
		"a stale read":                           {history(write(1), write(2), read(2), read(1)), judgement{violated: true}},
		"no answer, and not there":               {history(write(1), lost(2), read(1)), judgement{}},
		"no answer, and there later":             {history(write(1), lost(2), read(1), write(3), read(3), read(2)), judgement{}},
		"no answer, there and gone":              {history(write(1), lost(2), read(2), read(1)), judgement{violated: true}},
		"a swap that found what it expects":      {history(write(1), swap(1, 2, true), read(2)), judgement{}},
		"a swap that found something else":       {history(write(1), swap(3, 2, true), read(2)), judgement{violated: true}},
		"a swap that failed without a reason":    {history(write(1), swap(1, 2, false), read(1)), judgement{violated: true}},
		"no answer, met by a swap alone":         {history(write(1), operation{kind: opSwap, old: 1, value: 2, pending: true}, swap(1, 3, false), write(4), read(4)), judgement{}},
		"a stale read that nobody had confirmed": {history(write(1), write(2), read(2), plain(1)), judgement{plain: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(c.ops); got != c.want {
				t.Errorf("got %+v, want %+v\n%s", got, c.want, describe(c.ops))
			}
		})
	}
}
