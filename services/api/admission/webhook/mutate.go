package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/services/api/admission"
	"karve.dev/karve/services/api/admission/match"
)

// Admit implements admission.Plugin: the webhooks change the object one after the other.
func (p *Plugin) Admit(ctx context.Context, a *admission.Attributes) error {
	configurations, err := p.mutators.All(ctx)
	if err != nil || len(configurations) == 0 || !match.Concerns(a) {
		return err
	}
	views := match.NewViews(a)
	again := match.Remember(p, a, views)
	index := -1
	for _, hooks := range configurations {
		for _, h := range hooks {
			index++
			if !again.Due(h.id) {
				continue
			}
			if err := p.admit(ctx, a, views, h, index, again); err != nil {
				return err
			}
		}
	}
	again.Done(views)
	return nil
}

func (p *Plugin) admit(ctx context.Context, a *admission.Attributes, views *match.Views, h *hook, index int, again *match.Again) error {
	c, err := p.prepare(ctx, a, views, h, index)
	if err != nil || c == nil {
		return err
	}
	changed, err := p.mutate(ctx, c, views)
	p.note(a, c, changed)
	again.Asked(h.id, changed, h.again)
	if err != nil {
		return p.verdict(ctx, c, err, "mutation", a)
	}
	return nil
}

// note tells the audit log who was asked.
func (p *Plugin) note(a *admission.Attributes, c *call, changed bool) {
	if a.Annotate == nil {
		return
	}
	value, _ := json.Marshal(struct {
		Configuration string `json:"configuration"`
		Webhook       string `json:"webhook"`
		Mutated       bool   `json:"mutated"`
	}{c.configuration, c.name, changed})
	a.Annotation(fmt.Sprintf("mutation.webhook.admission.k8s.io/round_%d_index_%d", round(a), c.index), string(value))
}

// maxPatchOps bounds a patch, as Kubernetes does with those of clients.
const maxPatchOps = 10000

// mutate asks one webhook and applies its patch.
func (p *Plugin) mutate(ctx context.Context, c *call, views *match.Views) (changed bool, err error) {
	answer, err := p.ask(ctx, c, true)
	if err != nil {
		return false, err
	}
	if !answer.Allowed {
		return false, denial(c.name, answer.Result)
	}
	if len(answer.Patch) == 0 {
		return false, nil
	}
	ops, err := jsonpatch.DecodePatch(answer.Patch)
	if err == nil && len(ops) > maxPatchOps {
		err = fmt.Errorf("the patch has more than %d operations", maxPatchOps)
	}
	if err != nil {
		return false, &unreachable{c.name, fmt.Errorf("received undecodable patch in webhook response: %w", err)}
	}
	if len(ops) == 0 {
		return false, nil
	}
	if c.view.Object == nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", c.name))
	}
	if *answer.PatchType != admissionv1.PatchTypeJSONPatch {
		return false, &unreachable{c.name, fmt.Errorf("unsupported patch type %q", *answer.PatchType)}
	}
	return p.patch(c, views, ops)
}

func (p *Plugin) patch(c *call, views *match.Views, ops jsonpatch.Patch) (changed bool, err error) {
	before, err := c.view.ObjectJSON()
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	after, err := ops.Apply(before)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	record := c.view.Object.GetManagedFields()
	if err := views.Replace(c.view, after, false); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	restoreRecord(c.view.Write, record)
	view, err := views.Of(c.view.Kind)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	now, err := view.ObjectJSON()
	return !bytes.Equal(before, now), err
}

// restoreRecord undoes what a webhook did to the record of managed fields, which is no business of its own.
func restoreRecord(a *admission.Attributes, record []metav1.ManagedFieldsEntry) {
	a.Object.SetManagedFields(record)
}
