// Two sessions as Baileys keeps them, for tests of the import: one with each
// Baileys, each with a peer of its own, in the form of documents.
//
//   node fixture.mjs > ../../worker/whatsapp/src/baileys/fixture.json
//
// No server takes part: Baileys' own Signal code writes both sides' files. The
// keys are random and nobody's.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

console.log = console.info = console.warn = console.error = () => {}
const logger = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => logger }

const GROUP = '120363000000000001-1500@g.us'

const load = async (folder) => ({
	library: await import(folder),
	makeLibSignalRepository: (await import(`./node_modules/${folder}/lib/Signal/libsignal.js`)).makeLibSignalRepository
})

const person = async ({ library, makeLibSignalRepository }, id, lid) => {
	const { useMultiFileAuthState, addTransactionCapability, Curve } = library
	const folder = mkdtempSync(join(tmpdir(), 'baileys-fixture-'))
	const { state, saveCreds } = await useMultiFileAuthState(folder)
	const { creds } = state
	const identity = creds.signedIdentityKey
	const phone = Curve.generateKeyPair()
	const details = Buffer.from([8, 1, 16, 2, 24, 3])
	const signed = (prefix, ...parts) => Buffer.concat([Buffer.from(prefix), ...parts.map((part) => Buffer.from(part))])
	const { proto } = library
	creds.account = proto.ADVSignedDeviceIdentity.create({
		details,
		accountSignatureKey: phone.public,
		accountSignature: Curve.sign(phone.private, signed([6, 0], details, identity.public)),
		deviceSignature: Curve.sign(identity.private, signed([6, 1], details, identity.public, phone.public))
	})
	creds.me = { id, lid, name: 'Fixture' }
	creds.signalIdentities = [{
		identifier: { name: lid, deviceId: 0 },
		identifierKey: Buffer.concat([Buffer.from([5]), phone.public])
	}]
	creds.routingInfo = Buffer.from('routing')
	creds.nextPreKeyId = 6
	creds.firstUnuploadedPreKeyId = 4
	const preKeys = {}
	for (let number = 1; number < 6; number++) preKeys[number] = Curve.generateKeyPair()
	await state.keys.set({ 'pre-key': preKeys })
	const keyId = Buffer.from([0, 0, 255, 255, 62, 63]).toString('base64')
	await state.keys.set({
		'app-state-sync-key': {
			[keyId]: proto.Message.AppStateSyncKeyData.create({
				keyData: Buffer.alloc(32, 7),
				fingerprint: { rawId: 11, currentIndex: 1, deviceIndexes: [0, 1] },
				timestamp: 1700000000
			})
		},
		'app-state-sync-version': { regular: { version: 3, hash: Buffer.alloc(128), indexValueMap: {} } },
		'sender-key-memory': { [GROUP]: { [id]: true } }
	})
	creds.myAppStateKeyId = keyId
	await saveCreds()
	const keys = addTransactionCapability(state.keys, logger, { maxCommitRetries: 3, delayBetweenTriesMs: 10 })
	return { folder, creds, keys, preKeys, id, lid, saveCreds, repository: makeLibSignalRepository({ creds, keys }, logger, async () => []) }
}

const bundle = ({ creds, preKeys }, number) => {
	const typed = (key) => Buffer.concat([Buffer.from([5]), Buffer.from(key)])
	return {
		registrationId: creds.registrationId,
		identityKey: typed(creds.signedIdentityKey.public),
		signedPreKey: {
			keyId: creds.signedPreKey.keyId,
			publicKey: typed(creds.signedPreKey.keyPair.public),
			signature: creds.signedPreKey.signature
		},
		preKey: { keyId: number, publicKey: typed(preKeys[number].public) }
	}
}

const make = async (name, folder, isSeven) => {
	const loaded = await load(folder)
	const own = await person(loaded, '999000000001:7@s.whatsapp.net', '100000000000001:7@lid')
	const peer = await person(loaded, '999000000002:3@s.whatsapp.net', '100000000000002:3@lid')
	const of = isSeven ? ({ lid }) => lid : ({ id }) => id
	if (isSeven) {
		await own.repository.lidMapping.storeLIDPNMappings([{ lid: peer.lid, pn: peer.id }])
		await own.keys.set({
			'device-list': { '999000000002': ['0', '3'] },
			tctoken: { '100000000000002@lid': { token: Buffer.from('token'), timestamp: '1700000000' } }
		})
	}
	const say = async (from, to, text) => {
		const sent = await from.repository.encryptMessage({ jid: of(to), data: Buffer.from(text) })
		return { jid: of(from), ...sent }
	}
	await own.repository.injectE2ESession({ jid: of(peer), session: bundle(peer, 1) })
	await peer.repository.decryptMessage(await say(own, peer, 'one'))
	await own.repository.decryptMessage(await say(peer, own, 'two'))
	await peer.repository.decryptMessage(await say(own, peer, 'three'))
	// Skipped: the first two come after the third, or never.
	const late = [await say(peer, own, 'four'), await say(peer, own, 'five'), await say(peer, own, 'six')]
	await own.repository.decryptMessage(late[2])
	await own.repository.decryptMessage(late[1])
	// One that nobody has answered.
	await own.repository.injectE2ESession({ jid: of(peer).replace(':3', ''), session: bundle(peer, 2) })
	await own.repository.encryptMessage({ jid: of(peer).replace(':3', ''), data: Buffer.from('seven') })
	const group = async (from, to, text) => {
		const meId = of(from)
		const { ciphertext, senderKeyDistributionMessage } = await from.repository.encryptGroupMessage({ group: GROUP, meId, data: Buffer.from(text) })
		const item = { groupId: GROUP, axolotlSenderKeyDistributionMessage: senderKeyDistributionMessage }
		return { item, authorJid: meId, group: GROUP, msg: ciphertext }
	}
	const first = await group(peer, own, 'eight')
	await own.repository.processSenderKeyDistributionMessage(first)
	await group(peer, own, 'nine')
	await own.repository.decryptGroupMessage(await group(peer, own, 'ten'))
	await group(own, peer, 'eleven')
	await own.saveCreds()
	const records = {}
	for (const file of readdirSync(own.folder).sort()) {
		records[file.replace(/\.json$/, '')] = JSON.parse(readFileSync(join(own.folder, file), 'utf8'))
	}
	for (const { folder } of [own, peer]) rmSync(folder, { recursive: true })
	return [name, records]
}

const sessions = [await make('baileys7', 'baileys', true), await make('baileys6', 'baileys6', false)]
process.stdout.write(JSON.stringify(Object.fromEntries(sessions), null, 1) + '\n')
process.exit(0)
