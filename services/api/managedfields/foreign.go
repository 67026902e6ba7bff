package managedfields

import (
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// parts are what the subresources write that write a part of an object which is not its status.
var parts = map[string][]*fieldpath.SetMatcher{
	"scale":               {fieldpath.MakePrefixMatcherOrDie("spec", "replicas")},
	"approval":            {fieldpath.MakePrefixMatcherOrDie("status", "conditions")},
	"finalize":            {fieldpath.MakePrefixMatcherOrDie("spec", "finalizers")},
	"ephemeralcontainers": {fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers")},
	"resize": {
		fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resources"),
		fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resizePolicy"),
		fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", fieldpath.MatchAnyPathElement(), "resources"),
		fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", fieldpath.MatchAnyPathElement(), "resizePolicy"),
		fieldpath.MakePrefixMatcherOrDie("spec", "resources"),
	},
}

// foreign takes out of a field set what a write does not reach, so that nobody owns what he could not have set: the
// status of whoever writes the object, everything else of whoever writes the status.
func foreign(w Write) map[fieldpath.APIVersion]fieldpath.Filter {
	var keep fieldpath.Filter
	switch {
	case w.Subresource == "" && w.Kind.PrepareStatus == nil:
		return nil
	case w.Subresource == "":
		keep = fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))
	case parts[w.Subresource] != nil:
		keep = fieldpath.NewIncludeMatcherFilter(parts[w.Subresource]...)
	default:
		keep = fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("spec")))
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(w.Kind.GroupVersion().String()): keep}
}
