package admission

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// amounts are what is asked of one resource.
type amounts struct {
	request, limit       resource.Quantity
	hasRequest, hasLimit bool
}

func amountsOf(name corev1.ResourceName, requests, limits corev1.ResourceList) (a amounts) {
	a.request, a.hasRequest = requests[name]
	a.limit, a.hasLimit = limits[name]
	return a
}

// claimOutside: a claim has requests only, and they must be in the range.
func claimOutside(item *corev1.LimitRangeItem, requests corev1.ResourceList) (errs []error) {
	for _, name := range names(item.Min) {
		errs = appendErr(errs, tooLittle(item.Type, name, item.Min[name], amountsOf(name, requests, nil)))
	}
	for _, name := range names(item.Max) {
		a, top := amountsOf(name, requests, nil), item.Max[name]
		switch {
		case !a.hasRequest:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, item.Type, top.String()))
		case a.request.Cmp(top) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, top.String(), a.request.String()))
		}
	}
	return errs
}

// computeOutside: the requests and limits of a container, or of a pod as a whole.
func computeOutside(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, check := range []struct {
		bounds  corev1.ResourceList
		outside func(t corev1.LimitType, name corev1.ResourceName, bound resource.Quantity, a amounts) error
	}{{item.Min, tooLittle}, {item.Max, tooMuch}, {item.MaxLimitRequestRatio, tooFarApart}} {
		for _, name := range names(check.bounds) {
			errs = appendErr(errs, check.outside(item.Type, name, check.bounds[name], amountsOf(name, requests, limits)))
		}
	}
	return errs
}

func tooLittle(t corev1.LimitType, name corev1.ResourceName, bottom resource.Quantity, a amounts) error {
	switch {
	case !a.hasRequest:
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, t, bottom.String())
	case a.request.Cmp(bottom) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, t, bottom.String(), a.request.String())
	case a.hasLimit && a.limit.Cmp(bottom) < 0:
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, t, bottom.String(), a.limit.String())
	}
	return nil
}

func tooMuch(t corev1.LimitType, name corev1.ResourceName, top resource.Quantity, a amounts) error {
	switch {
	case !a.hasLimit:
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, t, top.String())
	case a.limit.Cmp(top) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, t, top.String(), a.limit.String())
	case a.hasRequest && a.request.Cmp(top) > 0:
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, t, top.String(), a.request.String())
	}
	return nil
}

func tooFarApart(t corev1.LimitType, name corev1.ResourceName, most resource.Quantity, a amounts) error {
	switch {
	case !a.hasRequest || a.request.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, t, most.String())
	case !a.hasLimit || a.limit.IsZero():
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, t, most.String())
	}
	// In whole thousandths where they are not too many, so that 1100m is exactly eleven times 100m.
	limit, request := a.limit.Value(), a.request.Value()
	if max(limit, request) <= resource.MaxMilliValue {
		limit, request = a.limit.MilliValue(), a.request.MilliValue()
	}
	if ratio := float64(limit) / float64(request); ratio*1000 > float64(most.MilliValue()) {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, t, most.String(), ratio)
	}
	return nil
}

func names(list corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(list)) }

func appendErr(errs []error, err error) []error {
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}
