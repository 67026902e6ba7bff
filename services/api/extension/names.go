package extension

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/registry"
)

type condition = apiextensionsv1.CustomResourceDefinitionCondition

// verdict is the status that a definition should have.
type verdict struct {
	status  apiextensionsv1.CustomResourceDefinitionStatus
	changed bool
}

func (v *verdict) established() bool {
	return slices.ContainsFunc(v.status.Conditions, func(c condition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// judge decides about the names of all definitions, in their order. Names that were granted stay granted.
func judge(all []*known, builtIn []*registry.Kind) []verdict {
	taken := newClaims(builtIn)
	for _, d := range all {
		taken.claim(d.Spec.Group, d.Name, &d.Status.AcceptedNames)
	}
	out := make([]verdict, len(all))
	for i, d := range all {
		d.Status.DeepCopyInto(&out[i].status)
		out[i].judge(d.definition, taken)
		taken.claim(d.Spec.Group, d.Name, &out[i].status.AcceptedNames)
		out[i].changed = !equality.Semantic.DeepEqual(d.Status, out[i].status)
	}
	return out
}

func (v *verdict) judge(d *definition, taken claims) {
	accepted := condition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found"}
	if reason, err := v.grant(d, taken); err != nil {
		accepted.Status, accepted.Reason, accepted.Message = apiextensionsv1.ConditionFalse, reason, err.Error()
	}
	v.set(accepted)
	if !v.established() {
		c := condition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted"}
		if accepted.Status == apiextensionsv1.ConditionTrue {
			c.Status, c.Reason, c.Message = apiextensionsv1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted"
		}
		v.set(c)
	}
	if c := approval(d); c != nil {
		v.set(*c)
	}
}

// grant accepts the names that nobody else has; the error is of the last that somebody has.
func (v *verdict) grant(d *definition, taken claims) (reason string, conflict error) {
	want, have := &d.Spec.Names, &v.status.AcceptedNames
	for _, n := range []struct {
		reason string
		space  space
		want   string
		have   *string
	}{
		{"PluralConflict", resources, want.Plural, &have.Plural},
		{"SingularConflict", resources, want.Singular, &have.Singular},
		{"KindConflict", kindNames, want.Kind, &have.Kind},
		{"ListKindConflict", kindNames, want.ListKind, &have.ListKind},
	} {
		if err := taken.free(d, n.space, n.want); err != nil {
			reason, conflict = n.reason, err
			continue
		}
		*n.have = n.want
	}
	var errs []error
	for _, short := range want.ShortNames {
		errs = append(errs, taken.free(d, resources, short))
	}
	if err := errors.Join(errs...); err != nil {
		reason, conflict = "ShortNamesConflict", err
	} else {
		have.ShortNames = want.ShortNames
	}
	have.Categories = want.Categories
	return reason, conflict
}

// set sets a condition; the time moves when its status does.
func (v *verdict) set(c condition) {
	i := slices.IndexFunc(v.status.Conditions, func(have condition) bool { return have.Type == c.Type })
	if i < 0 {
		c.LastTransitionTime = metav1.Now().Rfc3339Copy()
		v.status.Conditions = append(v.status.Conditions, c)
		return
	}
	have := &v.status.Conditions[i]
	c.LastTransitionTime = have.LastTransitionTime
	if have.Status != c.Status {
		c.LastTransitionTime = metav1.Now().Rfc3339Copy()
	}
	*have = c
}

var approvals = map[apihelpers.APIApprovalState]condition{
	apihelpers.APIApprovalInvalid:  {Status: apiextensionsv1.ConditionFalse, Reason: "InvalidAnnotation"},
	apihelpers.APIApprovalMissing:  {Status: apiextensionsv1.ConditionFalse, Reason: "MissingAnnotation"},
	apihelpers.APIApproved:         {Status: apiextensionsv1.ConditionTrue, Reason: "ApprovedAnnotation"},
	apihelpers.APIApprovalBypassed: {Status: apiextensionsv1.ConditionFalse, Reason: "UnapprovedAnnotation"},
}

// approval is the condition of definitions in Kubernetes' own groups; nil for others.
func approval(d *definition) *condition {
	if !apihelpers.IsProtectedCommunityGroup(d.Spec.Group) {
		return nil
	}
	state, message := apihelpers.GetAPIApprovalState(d.Annotations)
	c := approvals[state]
	c.Type, c.Message = apiextensionsv1.KubernetesAPIApprovalPolicyConformant, message
	return &c
}

// space is one of the two sets in which a group's names must differ.
type space uint8

const (
	resources space = iota
	kindNames
)

// claim is a name in a group.
type claim struct {
	group string
	space space
	name  string
}

// claims tells which definition has a name; built-in kinds have theirs under no definition.
type claims map[claim]string

func newClaims(builtIn []*registry.Kind) claims {
	out := claims{}
	for _, k := range builtIn {
		out.claim(k.Group, "", &apiextensionsv1.CustomResourceDefinitionNames{
			Plural: k.Resource, Singular: k.Singular, ShortNames: k.ShortNames, Kind: k.Kind, ListKind: k.ListKindName(),
		})
	}
	return out
}

func (c claims) claim(group, by string, names *apiextensionsv1.CustomResourceDefinitionNames) {
	add := func(s space, all ...string) {
		for _, name := range all {
			if key := (claim{group, s, name}); name != "" {
				if _, known := c[key]; !known {
					c[key] = by
				}
			}
		}
	}
	add(resources, names.Plural, names.Singular)
	add(resources, names.ShortNames...)
	add(kindNames, names.Kind, names.ListKind)
}

// free is an error when another than d has the name.
func (c claims) free(d *definition, s space, name string) error {
	if by, known := c[claim{d.Spec.Group, s, name}]; known && by != d.Name {
		return fmt.Errorf("%q is already in use", name)
	}
	return nil
}
