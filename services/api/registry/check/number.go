package check

import (
	"errors"
	"maps"
	"slices"
	"strconv"
)

var errPortType = errors.New("unknown type")

func itoa(v int64) string { return strconv.FormatInt(v, 10) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
