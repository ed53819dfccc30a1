// Reads a history of operations on keys from standard input and says whether every key behaved as one
// register: each operation took effect at one moment between its call and its return. The model knows
// nothing of the server but what docs/spec/kv.md promises. Exit code 0: linearizable, 1: not, 2: no verdict.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/anishathalye/porcupine"
)

type input struct {
	Kind       string `json:"kind"` // get, set, create, swap, delete, increment
	Value      string `json:"value"`
	IfRevision int64  `json:"ifRevision"`
	Delta      int64  `json:"delta"`
}

type output struct {
	// Nobody knows whether the operation took effect, and it still may.
	Unknown  bool   `json:"unknown"`
	Found    bool   `json:"found"`
	Value    string `json:"value"`
	Revision int64  `json:"revision"`
}

type operation struct {
	Client int    `json:"client"`
	Key    string `json:"key"`
	Call   int64  `json:"call"`
	Return int64  `json:"return"`
	Input  input  `json:"input"`
	Output output `json:"output"`
}

// A key. Revision -1: it was written by an operation that never told which revision it gave.
type state struct {
	Present  bool
	Value    string
	Revision int64
	// The highest revision that is known: those that follow are above it, also after a delete.
	Top int64
}

const untold = -1

func (s state) written(value string, revision int64) []interface{} {
	if revision == untold {
		return []interface{}{state{true, value, untold, s.Top}}
	}
	if revision <= s.Top {
		return nil
	}
	return []interface{}{state{true, value, revision, revision}}
}

// The key was seen with this revision; it is the one we know, or the one that nobody had told us.
func (s state) seen(revision int64) []interface{} {
	if !s.Present {
		return nil
	}
	if s.Revision == revision {
		return []interface{}{s}
	}
	if s.Revision == untold && revision > s.Top {
		return []interface{}{state{true, s.Value, revision, revision}}
	}
	return nil
}

func (s state) removed() state { return state{false, "", 0, s.Top} }

func (s state) sum(delta int64) string {
	before, _ := strconv.ParseInt(s.Value, 10, 64)
	return strconv.FormatInt(before+delta, 10)
}

func step(s state, in input, out output) []interface{} {
	if out.Unknown {
		return append([]interface{}{s}, stepUnknown(s, in)...)
	}
	switch in.Kind {
	case "get":
		if !out.Found {
			return onlyIf(!s.Present, s)
		}
		if out.Value != s.Value {
			return nil
		}
		return s.seen(out.Revision)
	case "set":
		return s.written(in.Value, out.Revision)
	case "create":
		if !out.Found {
			return s.seen(out.Revision)
		}
		if s.Present {
			return nil
		}
		return s.written(in.Value, out.Revision)
	case "swap":
		return stepSwap(s, in, out)
	case "delete":
		if out.Found != s.Present {
			return nil
		}
		return []interface{}{s.removed()}
	case "increment":
		if out.Value != s.sum(in.Delta) {
			return nil
		}
		return []interface{}{state{true, out.Value, untold, s.Top}}
	}
	panic("unknown kind of operation: " + in.Kind)
}

func stepSwap(s state, in input, out output) []interface{} {
	if !out.Found {
		if out.Revision == 0 {
			return onlyIf(!s.Present, s)
		}
		if out.Revision == in.IfRevision {
			return nil
		}
		return s.seen(out.Revision)
	}
	var next []interface{}
	for _, each := range s.seen(in.IfRevision) {
		next = append(next, each.(state).written(in.Value, out.Revision)...)
	}
	return next
}

// What the operation made of the key if it took effect.
func stepUnknown(s state, in input) []interface{} {
	switch in.Kind {
	case "set":
		return s.written(in.Value, untold)
	case "create":
		if !s.Present {
			return s.written(in.Value, untold)
		}
	case "swap":
		if len(s.seen(in.IfRevision)) > 0 {
			return state{true, s.Value, in.IfRevision, max(s.Top, in.IfRevision)}.written(in.Value, untold)
		}
	case "delete":
		return []interface{}{s.removed()}
	case "increment":
		return []interface{}{state{true, s.sum(in.Delta), untold, s.Top}}
	}
	return nil
}

func onlyIf(holds bool, s state) []interface{} {
	if holds {
		return []interface{}{s}
	}
	return nil
}

var key = porcupine.NondeterministicModel{
	Init: func() []interface{} { return []interface{}{state{}} },
	Step: func(s, in, out interface{}) []interface{} { return step(s.(state), in.(input), out.(output)) },
}

func main() {
	var operations []operation
	if err := json.NewDecoder(os.Stdin).Decode(&operations); err != nil {
		fmt.Fprintln(os.Stderr, "the history is not JSON:", err)
		os.Exit(2)
	}
	byKey := map[string][]porcupine.Operation{}
	for _, o := range operations {
		end := o.Return
		if o.Output.Unknown {
			end = math.MaxInt64
		}
		byKey[o.Key] = append(byKey[o.Key], porcupine.Operation{
			ClientId: o.Client, Input: o.Input, Call: o.Call, Output: o.Output, Return: end,
		})
	}
	verdicts := map[string]string{}
	code := 0
	model := key.ToModel()
	for name, history := range byKey {
		result := porcupine.CheckOperationsTimeout(model, history, 20*time.Second)
		verdicts[name] = string(result)
		if result == porcupine.Illegal {
			code = 1
		} else if result == porcupine.Unknown && code == 0 {
			code = 2
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(verdicts)
	os.Exit(code)
}
