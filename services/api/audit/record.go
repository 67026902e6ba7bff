package audit

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/google/uuid"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	upstream "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/authz"
)

// The notes that authorization leaves.
const (
	noteDecision = "authorization.k8s.io/decision"
	noteReason   = "authorization.k8s.io/reason"
)

// Record is what is known of one call. It is safe for concurrent use; a nil Record takes everything and keeps nothing.
type Record struct {
	log    *Log
	method string

	mu     sync.Mutex
	caller identity.User
	event  auditv1.Event
	rule   upstream.RequestAuditConfig
	// ruled is set once the policy was asked, started once the answer has begun.
	ruled, started bool
}

func now() metav1.MicroTime { return metav1.NowMicro() }

// Caller notes who calls, before it takes somebody else's place.
func (r *Record) Caller(u identity.User) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caller = u
	r.event.User = u.Info()
}

// Annotate adds a note; the first one of a name stays.
func (r *Record) Annotate(name, value string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.annotate(name, value)
}

func (r *Record) annotate(name, value string) {
	if _, taken := r.event.Annotations[name]; taken {
		return
	}
	if r.event.Annotations == nil {
		r.event.Annotations = map[string]string{}
	}
	r.event.Annotations[name] = value
}

// Asks notes what the call is about and asks the policy; the first word on it counts. The stage RequestReceived is
// written.
func (r *Record) Asks(attrs authz.Attributes) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks(attrs)
}

func (r *Record) asks(attrs authz.Attributes) {
	if r.ruled {
		return
	}
	r.ruled = true
	r.event.Verb = attrs.Verb
	if r.event.RequestURI == "" {
		r.event.RequestURI = attrs.URI()
	}
	if attrs.Path == "" {
		r.event.ObjectRef = &auditv1.ObjectReference{
			Resource: attrs.Resource, Namespace: attrs.Namespace, Name: attrs.Name, APIGroup: attrs.Group, APIVersion: attrs.Version, Subresource: attrs.Subresource,
		}
	}
	r.rule = r.log.policy.EvaluatePolicyRule(authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: r.caller.Name, UID: r.caller.UID, Groups: r.caller.Groups, Extra: r.caller.Extra},
		Verb: attrs.Verb, Namespace: attrs.Namespace, APIGroup: attrs.Group, APIVersion: attrs.Version, Resource: attrs.Resource,
		Subresource: attrs.Subresource, Name: attrs.Name, ResourceRequest: attrs.Path == "", Path: attrs.Path,
	})
	r.event.Level = auditv1.Level(r.rule.Level)
	r.log.written.WithLabelValues(string(r.rule.Level)).Inc()
	if attrs.User.Name != "" && !reflect.DeepEqual(attrs.User, r.caller) { // somebody may become himself with other groups
		info := attrs.User.Info()
		r.event.ImpersonatedUser = &info
	}
	r.write(auditv1.StageRequestReceived)
}

// silent reports whether the policy wants nothing of this call.
func (r *Record) silent() bool { return r.ruled && r.rule.Level == auditinternal.LevelNone }

// askAnyhow asks the policy about a call that came to no authorization: one with a credential that is not good, or of a
// method that checks by itself.
func (r *Record) askAnyhow() {
	r.asks(authz.Attributes{User: r.caller, Verb: "post", Path: r.pathOnly()})
}

// Decided notes what authorization says about the call; the first word on it counts.
func (r *Record) Decided(allowed bool, reason string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	decision := "forbid"
	if allowed {
		decision = "allow"
	}
	if _, taken := r.event.Annotations[noteDecision]; !taken {
		r.annotate(noteDecision, decision)
		r.annotate(noteReason, reason)
	}
}

// Started notes that a stream's answer has begun.
func (r *Record) Started() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.askAnyhow()
	if r.started || r.silent() {
		return
	}
	r.started = true
	r.event.ResponseStatus = &metav1.Status{Code: http.StatusOK}
	r.write(auditv1.StageResponseStarted)
}

// End notes how the call ended: with its request and answer, messages of the API's services, and its error. Panicked is
// set when it ended with a panic.
func (r *Record) End(req, res any, err error, panicked bool) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.askAnyhow()
	if r.silent() {
		return
	}
	r.event.ResponseStatus = statusOf(res, err)
	r.addObjects(req, res, err)
	stage := auditv1.Stage(auditv1.StageResponseComplete)
	if panicked {
		stage = auditv1.StagePanic
	}
	r.write(stage)
}

// statusOf returns an outcome as a Status: an error's whole, of success just the code.
func statusOf(res any, err error) *metav1.Status {
	if err == nil {
		return &metav1.Status{Code: successCode(res)}
	}
	var refusal apierrors.APIStatus
	if status, ok := apierr.FromGRPC(err).(apierrors.APIStatus); ok {
		refusal = status
	} else {
		refusal = apierrors.NewInternalError(err)
	}
	out := refusal.Status()
	return &out
}

// write puts the record as it is into the log, unless the policy leaves out the stage.
func (r *Record) write(stage auditv1.Stage) {
	if r.rule.Level == auditinternal.LevelNone || slices.Contains(r.rule.OmitStages, auditinternal.Stage(stage)) {
		return
	}
	r.event.TypeMeta = metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Event"}
	r.event.Stage, r.event.StageTimestamp = stage, now()
	if stage == auditv1.StageRequestReceived {
		r.event.StageTimestamp = r.event.RequestReceivedTimestamp
	}
	line, err := json.Marshal(&r.event)
	if err != nil {
		r.log.sink.lost.Inc()
		r.log.log.Error("an audit record cannot be written", zap.Error(err))
		return
	}
	r.log.sink.add(append(line, '\n'))
}

// newID returns an identifier for a request that brought none.
func newID() types.UID { return types.UID(uuid.NewString()) }
