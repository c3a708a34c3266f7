// Many WhatsApp accounts on unmodified Baileys in one process, as a gateway has
// them, for the bench; driven over stdin and stdout as peer.mjs is.
//
//   node load.mjs FOLDER
//
// FOLDER/NUMBER keeps the login of an account (`useMultiFileAuthState`, Baileys'
// own), FOLDER/journal what it was told and told to do: a line each, on disk
// (fsync) before anything is said of it. That is the least that can be called
// durable; lines that come together share one fsync.

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

for (const level of ['log', 'info', 'warn', 'error', 'debug', 'trace']) {
	console[level] = (text) => process.stderr.write(`${typeof text === 'string' ? text : typeof text}\n`)
}

const { makeWASocket, useMultiFileAuthState } = await import('baileys')
const { default: pino } = await import('pino')

const [folder] = process.argv.slice(2)
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const logger = pino({ level: 'silent' })
const RESTART_REQUIRED = 515

const journal = await open(join(folder, 'journal'), 'a')
let lines = []
let writing
// Resolves once the line is on disk.
const write = (line) => {
	lines.push(JSON.stringify(line) + '\n')
	writing ??= (async () => {
		await undefined
		const together = lines.join('')
		lines = []
		writing = undefined
		await journal.write(together)
		await journal.datasync()
	})()
	return writing
}

const sockets = new Map()
let stored = 0

const connect = async (account, url) => {
	const { state, saveCreds } = await useMultiFileAuthState(join(folder, account))
	const socket = makeWASocket({
		auth: state,
		waWebSocketUrl: url,
		logger,
		syncFullHistory: false,
		shouldSyncHistoryMessage: () => false
	})
	sockets.set(account, socket)
	let saved = Promise.resolve()
	socket.ev.on('creds.update', () => {
		saved = saved.then(saveCreds)
	})
	socket.ev.on('connection.update', async ({ connection, qr, lastDisconnect }) => {
		if (qr) say({ event: 'qr', account, code: qr })
		if (connection === 'open') say({ event: 'open', account })
		if (connection !== 'close') return
		const code = lastDisconnect?.error?.output?.statusCode ?? null
		await saved
		if (code === RESTART_REQUIRED) await connect(account, url)
		else say({ event: 'close', account, code })
	})
	socket.ev.on('messages.upsert', async ({ messages }) => {
		const texts = messages
			.filter(({ key, message }) => !key.fromMe && (message?.conversation ?? message?.extendedTextMessage))
			.map(({ key, message }) => ({ in: key.id, from: key.remoteJid, message }))
		await Promise.all(texts.map(write))
		stored += texts.length
	})
}

const commands = {
	connect: ({ account, url }) => connect(account, url),
	send: async ({ account, jid, text }) => {
		await write({ out: text, account, jid })
		const { key } = await sockets.get(account).sendMessage(jid, { text })
		return { id: key.id }
	},
	stored: async () => ({ stored })
}

const run = async (line) => {
	const command = JSON.parse(line)
	try {
		say({ reply: command.seq, ...(await commands[command.do](command)) })
	} catch (error) {
		say({ reply: command.seq, error: error.message })
	}
}

process.on('unhandledRejection', (error) => say({ event: 'trouble', error: String(error?.message ?? error) }))

createInterface({ input: process.stdin })
	.on('line', (line) => void run(line))
	.on('close', () => process.exit(0))
