// What can be wrong with one record or hint as it is stored, beyond the checksums of its table.

package import NIOCore
package import TorcModel
import TorcReplication

package enum StoredRecordFault: Hashable, Sendable, CustomStringConvertible {
    case undecodable(String)
    /// Its key belongs to another partition, or to none.
    case misplaced(PartitionID)
    /// A newer build has written it: nothing is wrong with it.
    case newer

    package var description: String {
        switch self {
        case .undecodable(let problem): problem
        case .misplaced(let partition): "belongs to partition \(partition)"
        case .newer: StoredFault.newer
        }
    }

    /// nil: it is sound.
    package static func find(
        key: ByteBuffer, value: ByteBuffer, in partition: PartitionID, layout: LeafLayout
    ) -> StoredRecordFault? {
        do {
            let name = try ObjectKey(storageKey: key)
            let own = layout.ringSize.partition(of: name.position)
            if own != partition { return .misplaced(own) }
            let record = try Record(decoding: value, for: name)
            if record.hint != nil { return .undecodable("a hint among records") }
            _ = try record.object()
            return nil
        } catch  where error.reason == .unknownVersion {
            return .newer
        } catch {
            return .undecodable("\(error)")
        }
    }
}

private enum StoredFault {
    static let newer = "written by a newer version of torc: use that one"
}

extension StoreError {
    /// Of a record whose format this build does not know: nothing is wrong with it, and nothing may be done about it.
    package static func newerRecord(_ value: ByteBuffer, in folder: String) -> StoreError {
        .newerFormat(path: folder, found: Record.storedFormat(of: value) ?? 0, supported: Record.newestFormat)
    }
}

package enum StoredHintFault: Hashable, Sendable, CustomStringConvertible {
    case undecodable(String)
    /// A newer build has written it: nothing is wrong with it.
    case newer

    package var description: String {
        switch self {
        case .undecodable(let problem): problem
        case .newer: StoredFault.newer
        }
    }

    /// nil: it is sound, whether its target exists or not.
    package static func find(key: ByteBuffer, value: ByteBuffer) -> StoredHintFault? {
        var reader = key
        guard let target = reader.readInteger(as: UInt64.self) else { return .undecodable("a key without a target") }
        do {
            let record = try Record(decoding: value, for: try ObjectKey(storageKey: reader.slice()))
            guard let hint = record.hint else { return .undecodable("a record among hints") }
            guard hint.target.rawValue == target else { return .undecodable("kept under another node's name") }
            _ = try record.object()
            return nil
        } catch  where error.reason == .unknownVersion {
            return .newer
        } catch {
            return .undecodable("\(error)")
        }
    }
}
