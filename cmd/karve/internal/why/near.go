package why

import (
	"cmp"
	"slices"
	"strings"
)

// near returns up to three of the names that somebody may have meant, the likeliest first.
func near(want string, have []string) []string {
	type candidate struct {
		name string
		far  int
	}
	var found []candidate
	w := plain(want)
	for _, name := range have {
		n := plain(name)
		far := distance(w, n)
		shorter := min(len(w), len(n))
		begins := shorter >= 3 && (strings.HasPrefix(n, w) || strings.HasPrefix(w, n))
		if name != want && (begins || far <= max(1, shorter/3)) {
			found = append(found, candidate{name, far})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name)) })
	found = slices.Compact(found)
	var out []string
	for i := range min(3, len(found)) {
		out = append(out, found[i].name)
	}
	return out
}

// plain drops what people mix up: case and what separates words.
func plain(s string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(s))
}

// distance is how many letters are to be changed, added, left out or swapped with the next.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d[i][j] = min(change, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// nearImages returns images that are there and might be meant by one that is not: other tags of it first.
func nearImages(want string, have []string) []string {
	repository, tag := splitImage(want)
	var tags, others []string
	named := map[string]string{}
	for _, name := range have {
		r, t := splitImage(name)
		if r == repository {
			tags = append(tags, t)
			named[t] = name
		}
		others = append(others, r)
	}
	var out []string
	if len(tags) > 0 {
		for _, t := range slices.Concat([]string{tag}, near(tag, tags), tags) {
			if name := named[t]; name != "" && name != want && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
		return out[:min(3, len(out))]
	}
	slices.Sort(others)
	for _, r := range near(repository, slices.Compact(others)) {
		for _, name := range have {
			if nr, nt := splitImage(name); nr == r && (nt == tag || len(out) == 0) {
				if nt == tag {
					out = append([]string{name}, out...)
				} else {
					out = append(out, name)
				}
			}
		}
	}
	return out[:min(2, len(out))]
}

// splitImage takes an image's name apart: the last part of the repository, without host and folders, and the tag.
func splitImage(name string) (repository, tag string) {
	name, _, _ = strings.Cut(name, "@")
	last := name[strings.LastIndex(name, "/")+1:]
	repository, tag, ok := strings.Cut(last, ":")
	if !ok {
		tag = "latest"
	}
	return repository, tag
}
