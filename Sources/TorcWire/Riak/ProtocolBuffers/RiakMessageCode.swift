// The message codes of Riak's protocol-buffers interface that Torc speaks, and those that it knows and refuses.

package enum RiakMessageCode: UInt8, Sendable, CaseIterable {
    case errorResponse = 0
    case pingRequest = 1
    case pingResponse = 2
    case getClientIDRequest = 3
    case getClientIDResponse = 4
    case setClientIDRequest = 5
    case setClientIDResponse = 6
    case serverInfoRequest = 7
    case serverInfoResponse = 8
    case getRequest = 9
    case getResponse = 10
    case putRequest = 11
    case putResponse = 12
    case deleteRequest = 13
    case deleteResponse = 14
    case listBucketsRequest = 15
    case listBucketsResponse = 16
    case listKeysRequest = 17
    case listKeysResponse = 18
    case getBucketRequest = 19
    case getBucketResponse = 20
    case setBucketRequest = 21
    case setBucketResponse = 22
    case resetBucketRequest = 29
    case resetBucketResponse = 30
    /// Answered by `getBucketResponse`.
    case getBucketTypeRequest = 31
    /// Answered by `setBucketResponse`.
    case setBucketTypeRequest = 32
    case preferenceListRequest = 33
    case preferenceListResponse = 34
    /// Torc's own: `RiakRing`.
    case ringRequest = 240
    case ringResponse = 241
    case authenticationRequest = 253
    case authenticationResponse = 254
    case startTLS = 255
}
