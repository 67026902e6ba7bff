package job

import (
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// noIndex is the completion index of a pod that has none.
const noIndex = -1

// indexOf returns the completion index of a pod, noIndex where it is not one of 0…limit-1.
func indexOf(p *corev1.Pod, limit int) int {
	n, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || n < 0 || n >= limit {
		return noIndex
	}
	return n
}

// span is the numbers from first to last.
type span struct{ first, last int }

// indexes is a set of completion indexes: spans in order that neither touch nor overlap. A job may have a hundred
// thousand of them; as spans they take as little room as their text in the status.
type indexes []span

// parseIndexes reads the status' text form ("1,3-5,7") and leaves out what is not below limit or cannot be read.
func parseIndexes(text string, limit int) indexes {
	var out indexes
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last, err := strconv.Atoi(to)
		if err != nil {
			continue
		}
		if last = min(last, limit-1); first <= last {
			out = append(out, span{first, last})
		}
	}
	return normal(out)
}

// normal sorts spans and joins those that touch.
func normal(in []span) indexes {
	slices.SortFunc(in, func(a, b span) int { return a.first - b.first })
	var out indexes
	for _, s := range in {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
			continue
		}
		out = append(out, s)
	}
	return out
}

// with returns x and the given indexes.
func (x indexes) with(more ...int) indexes {
	all := slices.Clone([]span(x))
	for _, n := range more {
		all = append(all, span{n, n})
	}
	return normal(all)
}

func (x indexes) has(n int) bool {
	at, found := slices.BinarySearchFunc(x, n, func(s span, n int) int { return s.first - n })
	return found || at > 0 && n <= x[at-1].last
}

func (x indexes) len() int {
	total := 0
	for _, s := range x {
		total += s.last - s.first + 1
	}
	return total
}

// common returns how many indexes x and y share.
func (x indexes) common(y indexes) int {
	total, i, k := 0, 0, 0
	for i < len(x) && k < len(y) {
		total += max(0, min(x[i].last, y[k].last)-max(x[i].first, y[k].first)+1)
		if x[i].last < y[k].last {
			i++
		} else {
			k++
		}
	}
	return total
}

// without returns the first n numbers of 0…limit-1 that x does not have.
func (x indexes) without(n, limit int) []int {
	var out []int
	next := 0
	for _, s := range append(slices.Clone([]span(x)), span{limit, limit}) {
		for ; next < min(s.first, limit); next++ {
			if len(out) == n {
				return out
			}
			out = append(out, next)
		}
		next = s.last + 1
	}
	return out
}

// String is the form that the status has: a run of three or more is written with a hyphen.
func (x indexes) String() string {
	var parts []string
	for _, s := range x {
		first, last := strconv.Itoa(s.first), strconv.Itoa(s.last)
		switch s.last - s.first {
		case 0:
			parts = append(parts, first)
		case 1:
			parts = append(parts, first, last)
		default:
			parts = append(parts, first+"-"+last)
		}
	}
	return strings.Join(parts, ",")
}
