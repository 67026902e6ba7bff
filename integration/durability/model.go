package durability

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// The operations of the storm.
const (
	opRead = iota
	opCreate
	// opWrite updates whatever is there, opSwap what was last seen.
	opWrite
	opSwap
	opDelete
	opCount
)

type input struct {
	key string
	op  int
	// value is what is written, expected what opSwap replaces.
	value, expected string
}

// The answers to an operation.
const (
	done = iota
	absent
	// refused: AlreadyExists or Conflict.
	refused
	unknown
)

type output struct {
	result   int
	value    string
	revision int64
}

// Model is a ConfigMap that holds one value, "" when it is not there.
func Model() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(input).key
				byKey[key] = append(byKey[key], op)
			}
			var out [][]porcupine.Operation
			for _, part := range byKey {
				out = append(out, part)
			}
			return out
		},
		Init: func() []any { return []any{""} },
		Step: func(state, in, out any) []any { return step(state.(string), in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v -> %+v", in, out)
		},
	}
	return model.ToModel()
}

// step returns what the value may be after an operation, nothing when the answer is impossible.
func step(value string, in input, out output) []any {
	after, answer := apply(value, in)
	switch {
	case out.result == unknown: // it happened, or it did not
		return []any{value, after}
	case out.result != answer:
		return nil
	case in.op == opRead && out.result == done && out.value != value:
		return nil
	}
	return []any{after}
}

// apply is what a cluster must do.
func apply(value string, in input) (after string, answer int) {
	there := value != ""
	switch in.op {
	case opCreate:
		if there {
			return value, refused
		}
		return in.value, done
	case opDelete:
		if !there {
			return value, absent
		}
		return "", done
	case opWrite:
		if !there {
			return value, absent
		}
		return in.value, done
	case opSwap:
		if !there {
			return value, absent
		}
		if value != in.expected {
			return value, refused
		}
		return in.value, done
	}
	if !there {
		return value, absent
	}
	return value, done
}
