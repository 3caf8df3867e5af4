// Checks of what names an object: both of Riak's interfaces make their keys here, so no key of theirs is
// empty or longer than a storage key may be.

package import NIOCore
package import TorcModel

package enum RiakNames {
    /// `type` nil: the default type.
    package static func bucket(type: ByteBuffer?, name: ByteBuffer) throws(RiakRequestError) -> BucketID {
        guard name.readableBytes > 0 else { throw RiakRequestError(RiakText.emptyBucket) }
        guard name.readableBytes <= ObjectKey.maximumBucketBytes else { throw RiakRequestError(RiakText.bucketTooLong) }
        return BucketID(type: try self.type(type), name: name)
    }

    package static func object(type: ByteBuffer?, bucket: ByteBuffer, key: ByteBuffer) throws(RiakRequestError)
        -> ObjectKey
    {
        let bucket = try self.bucket(type: type, name: bucket)
        guard key.readableBytes > 0 else { throw RiakRequestError(RiakText.emptyKey) }
        guard key.readableBytes <= ObjectKey.maximumKeyBytes else { throw RiakRequestError(RiakText.keyTooLong) }
        return ObjectKey(bucket: bucket, key: key)
    }

    /// The type as Torc spells it: empty for the default type.
    package static func type(_ type: ByteBuffer?) throws(RiakRequestError) -> ByteBuffer {
        guard let type else { return ByteBuffer() }
        guard type.readableBytes > 0 else { throw RiakRequestError(RiakText.emptyType) }
        guard type.readableBytes <= ObjectKey.maximumBucketBytes else { throw RiakRequestError(RiakText.typeTooLong) }
        return type == BucketID.defaultTypeName ? ByteBuffer() : type
    }
}
