package storetest

import (
	"testing"

	"github.com/catenary-run/catenary/functions"
)

// Store is what is tested.
type Store interface {
	functions.Catalogue
	functions.Blobs
}

// Backend opens stores that share what they hold. The test closes nothing: Backend does so in a cleanup of t.
type Backend func(t *testing.T) Store

// Run runs the suite. Fresh is called once per test and returns an empty backend.
func Run(t *testing.T, fresh func(t *testing.T) Backend) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, Backend)
	}{
		{"RecordComesBack", recordComesBack},
		{"RecordsAreRefused", recordsAreRefused},
		{"AliasMovesByRevision", aliasMovesByRevision},
		{"AliasesAreRefused", aliasesAreRefused},
		{"AliasesAreSortedByName", aliasesAreSortedByName},
		{"OneWinnerPerRevision", oneWinnerPerRevision},
		{"WatchTellsAllThenChanges", watchTellsAllThenChanges},
		{"WatchSeesEveryLastState", watchSeesEveryLastState},
		{"WatchEndsWithItsContext", watchEndsWithItsContext},
		{"BlobComesBack", blobComesBack},
		{"BlobIsSeenByTheOtherStore", blobIsSeenByTheOtherStore},
		{"WrongDigestKeepsNothing", wrongDigestKeepsNothing},
		{"FailedReaderKeepsNothing", failedReaderKeepsNothing},
		{"BlobPutTwice", blobPutTwice},
		{"BlobsPutSideBySide", blobsPutSideBySide},
		{"PathIsTheBlob", pathIsTheBlob},
		{"MissingBlob", missingBlob},
		{"LargeBlobStreams", largeBlobStreams},
		{"EndedContext", endedContext},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, fresh(t)) })
	}
}

func digest(s string) functions.Digest { return functions.DigestOf([]byte(s)) }
