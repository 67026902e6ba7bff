package registry

import (
	"fmt"
	"strconv"
	"strings"
)

// cronField is one of the five parts of a schedule.
type cronField struct {
	low, high int
	names     []string
}

var cronFields = []cronField{
	{0, 59, nil}, {0, 23, nil}, {1, 31, nil},
	{1, 12, []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{0, 6, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

var cronWords = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

// badSchedule says what is wrong with a cron expression, or nothing.
func badSchedule(schedule string) string {
	s := schedule
	if rest, zoned := strings.CutPrefix(s, "CRON_"); zoned {
		s = rest
	}
	if strings.HasPrefix(s, "TZ=") {
		_, s, _ = strings.Cut(s, " ")
	}
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "@every ") {
		return ""
	}
	if strings.HasPrefix(s, "@") {
		for _, w := range cronWords {
			if s == w {
				return ""
			}
		}
		return "unrecognized descriptor: " + s
	}
	parts := strings.Fields(s)
	if len(parts) != len(cronFields) {
		return fmt.Sprintf("expected exactly %d fields, found %d: %v", len(cronFields), len(parts), parts)
	}
	for i, part := range parts {
		for item := range strings.SplitSeq(part, ",") {
			if msg := cronFields[i].bad(item); msg != "" {
				return msg
			}
		}
	}
	return ""
}

// bad checks one item of a field: "*", "5", "1-5", each perhaps with a step.
func (f cronField) bad(item string) string {
	span, step, stepped := strings.Cut(item, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil {
			return fmt.Sprintf("failed to parse int from %s: %v", step, err)
		} else if n <= 0 {
			return "step of range should be a positive number: " + item
		}
	}
	if span == "*" || span == "?" {
		return ""
	}
	from, to, ranged := strings.Cut(span, "-")
	low, msg := f.number(from)
	if msg != "" {
		return msg
	}
	high := low
	if ranged {
		if high, msg = f.number(to); msg != "" {
			return msg
		}
	}
	switch {
	case low < f.low:
		return fmt.Sprintf("beginning of range (%d) below minimum (%d): %s", low, f.low, item)
	case high > f.high:
		return fmt.Sprintf("end of range (%d) above maximum (%d): %s", high, f.high, item)
	case low > high:
		return fmt.Sprintf("beginning of range (%d) beyond end of range (%d): %s", low, high, item)
	}
	return ""
}

func (f cronField) number(s string) (int, string) {
	for i, name := range f.names {
		if name != "" && strings.EqualFold(name, s) {
			return i, ""
		}
	}
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return 0, fmt.Sprintf("failed to parse int from %s: %v", s, err)
	case n < 0:
		return 0, fmt.Sprintf("negative number (%d) not allowed: %s", n, s)
	}
	return n, ""
}
