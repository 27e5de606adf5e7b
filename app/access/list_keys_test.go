package access

import (
	"errors"
	"testing"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

func TestAConsumerSeesTheirOwnKeysNewestFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var made []id.ID
	for range 3 {
		made = append(made, w.issue(t).Key.ID)
	}
	stranger := newID()
	if _, err := w.issueKey().Do(t.Context(), IssueKeyInput{Actor: stranger, API: "weather"}); err != nil {
		t.Fatal(err)
	}
	uc := ListKeys{Keys: w.keys}
	got, err := uc.Do(t.Context(), ListKeysInput{Actor: w.consumer, Limit: 2, Offset: 1})
	if err != nil || got.Total != 3 || len(got.Items) != 2 || got.Items[0].ID != made[1] || got.Items[1].ID != made[0] {
		t.Errorf("got %+v, %v; want the older two of 3", got, err)
	}
	if got, err := uc.Do(t.Context(), ListKeysInput{Actor: newID(), Limit: 2}); err != nil || got.Total != 0 || len(got.Items) != 0 {
		t.Errorf("nobody has keys %+v, %v", got, err)
	}
	w.keys.Fail = errDown
	if got, err := uc.Do(t.Context(), ListKeysInput{Actor: w.consumer, Limit: 2}); !errors.Is(err, errDown) || got.Total != 0 {
		t.Errorf("got %+v, %v; want %v", got, err, errDown)
	}
}
