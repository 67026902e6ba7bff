package server

import (
	"context"
	"slices"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/watch"
)

// prepareWindow is how many objects a webhook is asked to convert at once at most.
const prepareWindow = 250

// prepare converts entries that a webhook has to convert many at once, before they are encoded one by one.
func (sv *served) prepare(ctx context.Context, entries []*watch.Entry, as *apiv1.Representation) error {
	if sv.Custom == nil || sv.Custom.Prepare == nil || len(entries) < 2 || as.GetForm() == apiv1.Form_FORM_METADATA {
		return nil
	}
	table := as.GetForm() == apiv1.Form_FORM_TABLE
	for window := range slices.Chunk(entries, prepareWindow) {
		values := make([][]byte, 0, len(window))
		for _, e := range window {
			if e.Err == nil && (table || !e.Knows(sv.forms.body)) {
				values = append(values, e.Value)
			}
		}
		if err := sv.Custom.Prepare(ctx, values); err != nil {
			return err
		}
		if table {
			continue
		}
		// What the converter keeps is soon forgotten when there is more to come.
		for _, e := range window {
			it := entryItem(e)
			if _, err := sv.body(&it); err != nil {
				return err
			}
		}
	}
	return nil
}
